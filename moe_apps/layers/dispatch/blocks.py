"""Pairs in groups of fixed sizes, for compilers that want static shapes."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from moe_apps.layers.dispatch.dispatcher import weighted_sum
from moe_apps.layers.dispatch.extra_groups import ExtraGroups
from moe_apps.layers.dispatch.permutation import from_slots, place, to_slots


def run_blocks(
    tokens: Any,
    expert: Any,
    rank: Any,
    experts: Any,
    weights: Any,
    first: Any,
    block: int | None = None,
    count: Any = None,
) -> Any:
    """Outputs `(tokens, features_out)`: the first rows of all experts at once, the rest by blocks.

    An expert's first rows need no copy of its weights, because they stand in the order of the
    stack. The number of blocks has a static bound; how many are computed is seen at run time.

    Args:
        tokens: `(tokens, features)`.
        expert: `(k * tokens,)` int32 expert of each pair, choice-major; `experts.num_experts`
            for a pair that is not computed.
        rank: `(k * tokens,)` int32, position of each pair in the queue of its expert.
        experts: the bank.
        weights: `(tokens, k)`.
        first: rows that every expert gets at once.
        block: rows of a further block, at most `first`; None where no queue is longer than that.
        count: `(experts,)` int32, length of the queues; used with `block`.
    """
    num_experts, features, k = experts.num_experts, tokens.shape[-1], weights.shape[-1]
    num_first = num_slots = num_experts * first
    slot = expert * first + rank
    if block is not None:
        # A queue of n > first rows takes at most n / block blocks.
        pairs = ops.shape(expert)[0]
        bound = pairs // block
        # An axis of unknown size can be added to on JAX, but not compared.
        num_blocks = max(bound, 1) if isinstance(pairs, int) else bound + 1
        num_slots = num_first + num_blocks * block
        needed = ops.maximum((count - first + block - 1) // block, 0)
        ends = ops.cumsum(needed)  # (experts,)
        start = num_first + (ends - needed) * block - first
        later = ops.take(start, ops.minimum(expert, num_experts - 1)) + rank
        slot = ops.where(rank < first, slot, later)
    placement = place(ops.where(expert < num_experts, slot, num_slots), k, num_slots)
    rows = to_slots(tokens, placement)
    first_rows = ops.reshape(rows[:num_first], (num_experts, first, features))
    if block is None:
        outputs = _flat(experts(first_rows))
    else:
        past = ops.arange(num_blocks, dtype="int32")[:, None] >= ends[None, :]
        extra = ExtraGroups(
            rows=ops.reshape(rows[num_first:], (num_blocks, block, features)),
            # Blocks past the last one needed are not computed; any expert will do for them.
            expert_ids=ops.minimum(ops.sum(ops.cast(past, "int32"), axis=1), num_experts - 1),
            start=ops.zeros((), "int32"),
            end=ends[-1],
        )
        outputs = ops.concatenate([_flat(part) for part in experts(first_rows, extra=extra)])
    return weighted_sum(from_slots(outputs, placement), weights)


def group_sizes(pairs: Any, num_experts: int, block_size: int | None) -> tuple[Any, int]:
    """First rows of an expert, and rows of a block, for `pairs` that are an int or a scalar.

    A balanced router spreads the queues by about the square root of their mean: twice that is
    rarely exceeded. Blocks of a quarter of the mean waste few rows.

    Example:
        >>> group_sizes(pairs=2048, num_experts=8, block_size=None)
        (288, 64)
    """
    if not isinstance(pairs, int):
        mean = pairs // num_experts
        return mean + mean // 4 + (block_size or 64), block_size or 64
    mean = pairs / num_experts
    first = math.ceil(mean + 2 * math.sqrt(mean))
    first = max(min(first if first < 8 else first + -first % 8, pairs), 1)
    block = 2 ** int(math.log2(min(max(mean / 4, 8), 256)))
    return first, min(block_size or block, first)


def _flat(outputs: Any) -> Any:
    """`(groups, rows, features)` as `(groups * rows, features)`."""
    return ops.reshape(outputs, (-1, outputs.shape[-1]))
