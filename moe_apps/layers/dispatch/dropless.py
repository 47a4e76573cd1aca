"""Sorted pairs: every chosen pair is computed, and nothing else."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.dispatch.compilation import compiles_with_static_shapes
from moe_apps.layers.dispatch.dispatcher import Dispatcher, active_expert_of_pair, weighted_sum
from moe_apps.layers.dispatch.permutation import from_slots, place, rank_in_expert, to_slots


@keras.saving.register_keras_serializable(package="moe_apps")
class Dropless(Dispatcher):
    """Computes exactly the chosen pairs, under any imbalance; never drops.

    Two kernels give the same numbers. "blocks" pads each expert's queue to whole blocks of a
    fixed size, whose number has a static bound, so it compiles under XLA and on JAX. "slices"
    cuts the sorted queue at run time and gives each expert exactly its rows, which is faster in
    eager and graph TensorFlow; XLA refuses to compile it. "auto" takes "slices" where shapes
    may be dynamic and "blocks" elsewhere.

    Source: Gale et al. 2022, "MegaBlocks", arXiv 2211.15841 (the idea; block layout is ours).

    Args:
        kernel: "auto", "blocks" or "slices".
        block_size: rows per block; None takes half the mean queue, a power of 2 in [8, 256].

    Example:
        >>> from moe_apps.layers import MoE, SwiGLUExperts, TopK
        >>> layer = MoE(TopK(k=2), SwiGLUExperts(4, hidden_dim=16), dispatch=Dropless("blocks"))
        >>> tuple(layer(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        kernel: Literal["auto", "blocks", "slices"] = "auto",
        block_size: int | None = None,
    ) -> None:
        if kernel not in ("auto", "blocks", "slices"):
            raise ValueError(f'`kernel` must be "auto", "blocks" or "slices". Received: {kernel!r}')
        if block_size is not None and block_size < 1:
            raise ValueError(f"`block_size` must be at least 1. Received: {block_size}")
        self.kernel = kernel
        self.block_size = block_size

    def __call__(
        self, tokens: Any, indices: Any, weights: Any, experts: Any, training: bool | None
    ) -> tuple[Any, Any]:
        if self.kernel == "slices" and keras.backend.backend() != "tensorflow":
            raise ValueError(
                'The kernel "slices" needs the TensorFlow backend; use "auto" or "blocks".'
            )
        expert = active_expert_of_pair(indices, weights, experts.num_experts)
        rank, count = rank_in_expert(expert, experts.num_experts)
        static = compiles_with_static_shapes() if self.kernel == "auto" else self.kernel == "blocks"
        run = self._blocks if static else self._slices
        outputs = run(tokens, expert, rank, count, experts, indices.shape[-1])
        return weighted_sum(outputs, weights), 0.0

    def _blocks(self, tokens: Any, expert: Any, rank: Any, count: Any, experts: Any, k: int) -> Any:
        """Outputs `(k, tokens, features_out)` by whole blocks of rows, one expert a block."""
        num_experts, pairs = experts.num_experts, ops.shape(expert)[0]
        block = self.block_size or _default_block_size(pairs, num_experts)
        # An expert's first block needs no copy of its weights: those stand in the order of the
        # stack. Of the others there are at most `pairs / block`, because whoever has one filled
        # its first.
        num_extra = pairs // block
        extra = ops.maximum((count + block - 1) // block - 1, 0)
        ends = ops.cumsum(extra)  # (experts,)
        first_slot = num_experts + ends - extra - 1  # of an expert's second block, less one block
        index, within = rank // block, rank % block
        own = ops.minimum(expert, num_experts - 1)
        slot_block = ops.where(index == 0, own, ops.take(first_slot, own) + index)
        num_slots = (num_experts + num_extra) * block
        slot = ops.where(expert < num_experts, slot_block * block + within, num_slots)
        placement = place(slot, k, num_slots)
        rows = ops.reshape(to_slots(tokens, placement), (-1, block, tokens.shape[-1]))
        outputs = experts(rows[:num_experts])
        if not (isinstance(num_extra, int) and num_extra == 0):
            # Blocks past the last used one are empty; any expert will do for them.
            past = ops.arange(num_extra, dtype="int32")[:, None] >= ends[None, :]
            expert_ids = ops.minimum(ops.sum(ops.cast(past, "int32"), axis=1), num_experts - 1)
            outputs = ops.concatenate([outputs, experts(rows[num_experts:], expert_ids=expert_ids)])
        return from_slots(ops.reshape(outputs, (-1, outputs.shape[-1])), placement)

    def _slices(self, tokens: Any, expert: Any, rank: Any, count: Any, experts: Any, k: int) -> Any:
        """Outputs `(k, tokens, features_out)` by cutting the sorted rows at run time."""
        pairs = ops.shape(expert)[0]
        ends = ops.cumsum(count)  # (experts,)
        first_slot = ops.append(ends - count, 0)
        slot = ops.where(expert < experts.num_experts, ops.take(first_slot, expert) + rank, pairs)
        placement = place(slot, k, pairs)
        rows = to_slots(tokens, placement)
        outputs = ops.concatenate(experts(_cut(rows, count, ends)), axis=0)
        # Rows behind the last queue belong to inactive pairs.
        unused = pairs - ends[-1]
        return from_slots(ops.pad(outputs, ((0, unused), (0, 0))), placement)

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "block_size": self.block_size}


def _default_block_size(pairs: Any, num_experts: int) -> int:
    """Half the mean queue as a power of 2: padding stays small, blocks stay worth a product."""
    if not isinstance(pairs, int):
        return 64
    half = max(pairs // num_experts // 2, 1)
    return min(max(2 ** (half.bit_length() - 1), 8), 256)


def _cut(rows: Any, count: Any, ends: Any) -> list[Any]:
    """Consecutive pieces of `rows`, `count[e]` rows each; the gradient is one concatenation."""
    features = rows.shape[-1]

    @ops.custom_gradient
    def cut(rows: Any) -> Any:
        pieces = tuple(
            ops.slice(rows, (ends[e] - count[e], 0), (count[e], features))
            for e in range(count.shape[0])
        )

        def gradient(*args: Any, upstream: Any = None) -> Any:
            pieces = args if upstream is None else upstream
            unused = ops.shape(rows)[0] - ends[-1]
            return ops.pad(ops.concatenate(pieces, axis=0), ((0, unused), (0, 0)))

        return pieces, gradient

    return list(cut(rows))
