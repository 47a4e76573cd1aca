"""Sorted pairs: every chosen pair is computed, and nothing else."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.dispatch.blocks import group_sizes, run_blocks
from moe_apps.layers.dispatch.compilation import compiles_with_static_shapes
from moe_apps.layers.dispatch.dispatcher import Dispatcher, active_expert_of_pair
from moe_apps.layers.dispatch.permutation import rank_in_expert
from moe_apps.layers.dispatch.slices import run_slices


@keras.saving.register_keras_serializable(package="moe_apps")
class Dropless(Dispatcher):
    """Computes exactly the chosen pairs, under any imbalance; never drops.

    Two kernels give the same numbers. "blocks" gives all experts the same number of rows at
    once, what a balanced router needs, and serves longer queues by a loop over blocks of a fixed
    size: all shapes are static, so it compiles under XLA and on JAX. "slices" cuts the sorted
    pairs at run time and gives each expert exactly its rows, which is faster in eager and graph
    TensorFlow; XLA refuses to compile it. "auto" takes "slices" where shapes may be dynamic and
    "blocks" elsewhere.

    Source: Gale et al. 2022, "MegaBlocks", arXiv 2211.15841 (the idea; block layout is ours).

    Args:
        kernel: "auto", "blocks" or "slices".
        block_size: rows per block; None takes a quarter of the mean queue, a power of 2 between
            8 and 256.

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
        static = compiles_with_static_shapes() if self.kernel == "auto" else self.kernel == "blocks"
        if not static:
            return run_slices(tokens, expert, experts, weights), 0.0
        first, block = group_sizes(ops.shape(expert)[0], experts.num_experts, self.block_size)
        rank, count = rank_in_expert(expert, experts.num_experts)
        outputs = run_blocks(tokens, expert, rank, experts, weights, first, block, count)
        return outputs, 0.0

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "block_size": self.block_size}
