"""Moving rows between tokens and expert slots, with gradients that move rows back.

The gradient of a gather is a scatter-add, which is slow on every device. Here each slot holds
at most one (token, choice) pair, so the gradient is a gather as well, and is written as one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops


class Placement(NamedTuple):
    """Where each (choice, token) pair lies among the slots.

    Attributes:
        slot_of_pair: `(k, tokens)` int32; `slots` (one past the end) for a pair without a slot.
        pair_of_slot: `(slots,)` int32, the pair `choice * tokens + token` in each slot;
            `k * tokens` for an empty slot.
    """

    slot_of_pair: Any
    pair_of_slot: Any


def rank_in_expert(expert_of_pair: Any, num_experts: int) -> tuple[Any, Any]:
    """Position of each pair in the queue of its expert, and the length of the queues.

    Args:
        expert_of_pair: `(pairs,)` int32; a value of `num_experts` stands for no expert.
        num_experts: number of experts.

    Returns:
        `(pairs,)` int32 positions from 0 in the order given, and `(experts,)` int32 counts.

    Example:
        >>> rank, count = rank_in_expert(ops.array([1, 0, 1, 2], "int32"), 2)
        >>> [int(r) for r in rank[:3]], [int(c) for c in count]
        ([0, 0, 1], [1, 2])
    """
    experts = ops.arange(num_experts, dtype="int32")
    member = ops.cast(ops.equal(expert_of_pair[None, :], experts[:, None]), "int32")
    position = ops.cumsum(member, axis=1)  # (experts, pairs), counted from 1; int32 stays exact
    return ops.sum(position * member, axis=0) - 1, ops.sum(member, axis=1)


def place(slot: Any, k: int, num_slots: Any) -> Placement:
    """The placement that a slot number per pair describes.

    Args:
        slot: `(k * tokens,)` int32, choice-major; `num_slots` for a pair without a slot.
        k: choices per token.
        num_slots: number of slots, an int or a scalar tensor.
    """
    pairs = ops.shape(slot)[0]
    empty = ops.full((num_slots + 1,), pairs, dtype="int32")
    pair_of_slot = ops.scatter_update(empty, slot[:, None], ops.arange(pairs, dtype="int32"))
    return Placement(ops.reshape(slot, (k, -1)), pair_of_slot[:-1])


def to_slots(tokens: Any, placement: Placement) -> Any:
    """Rows `(slots, features)` of the tokens `(tokens, features)`; empty slots are 0."""
    num_tokens = ops.shape(tokens)[0]
    num_pairs = ops.size(placement.slot_of_pair)
    empty = ops.equal(placement.pair_of_slot, num_pairs)
    token = ops.mod(placement.pair_of_slot, ops.maximum(num_tokens, 1))
    token_of_slot = ops.where(empty, num_tokens, token)

    @ops.custom_gradient
    def move(tokens: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            return ops.sum(_take_or_zero(upstream, placement.slot_of_pair), axis=0)

        return _take_or_zero(tokens, token_of_slot), gradient

    return move(tokens)


def from_slots(rows: Any, placement: Placement) -> Any:
    """Rows `(k, tokens, features)` of the slots `(slots, features)`; no slot gives 0."""

    @ops.custom_gradient
    def move(rows: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            flat = ops.reshape(upstream, (-1, upstream.shape[-1]))
            return _take_or_zero(flat, placement.pair_of_slot)

        return _take_or_zero(rows, placement.slot_of_pair), gradient

    return move(rows)


def take_groups(stacked: Any, ids: Any) -> Any:
    """`stacked[ids]` along the first axis, with a dense segment sum as the gradient.

    Args:
        stacked: `(experts, ...)`.
        ids: `(groups,)` int, ascending.
    """
    num_experts = stacked.shape[0]

    @ops.custom_gradient
    def gather(stacked: Any) -> Any:
        def gradient(*args: Any, upstream: Any = None) -> Any:
            upstream = args[0] if upstream is None else upstream
            return ops.segment_sum(upstream, ids, num_segments=num_experts)

        return ops.take(stacked, ids, axis=0), gradient

    return gather(stacked)


def _take_or_zero(rows: Any, index: Any) -> Any:
    """`rows[index]`, and 0 where the index is one past the last row."""
    padded = ops.pad(rows, ((0, 1), (0, 0)))
    return ops.take(padded, index, axis=0)
