"""KerasHub's sparse blocks with the weights of a layer of ours.

The blocks are not public there; these are the benchmark's only private imports.
"""

from __future__ import annotations

from importlib.util import find_spec

import keras
from keras import ops

from moe_apps.layers import MoE

INSTALLED = find_spec("keras_hub") is not None


def qwen3_block(ours: MoE, width: int) -> keras.layers.Layer:
    """Qwen3-MoE's block; it equals `MoE` with `TopK(k)`."""
    from keras_hub.src.models.qwen3_moe.qwen3_moe_decoder import Qwen3SparseMoeBlock

    block = Qwen3SparseMoeBlock(
        hidden_dim=width,
        moe_intermediate_dim=ours.experts.hidden_dim,
        num_experts=ours.experts.num_experts,
        top_k=ours.router.k,
        norm_top_k_prob=ours.router.renormalize,
    )
    return _with_weights(block, ours, width, joined=True)


def mixtral_block(ours: MoE, width: int) -> keras.layers.Layer:
    """Mixtral's block; it equals `MoE` with `TopK(k, renormalize=True)`."""
    from keras_hub.src.models.mixtral.mixtral_decoder import MixtralSparseMoeBlock

    block = MixtralSparseMoeBlock(
        hidden_dim=width,
        intermediate_dim=ours.experts.hidden_dim,
        num_experts=ours.experts.num_experts,
        top_k=ours.router.k,
    )
    return _with_weights(block, ours, width, joined=False)


def _with_weights(
    block: keras.layers.Layer, ours: MoE, width: int, joined: bool
) -> keras.layers.Layer:
    block.build((None, None, width))
    gate, up, down = (ops.convert_to_tensor(weight) for weight in ours.experts.stacked_weights)
    first = [ops.concatenate([gate, up], axis=-1)] if joined else [gate, up]
    block.set_weights([ops.convert_to_numpy(w) for w in (ours.router.kernel, *first, down)])
    return block
