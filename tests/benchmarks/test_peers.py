from __future__ import annotations

import keras
import keras_hub_peers
import numpy as np
import pytest
import torch_peers

from keras_modes import TENSORFLOW, array
from moe_apps.layers import MoE, SwiGLUExperts, TopK

WIDTH, EXPERTS = 8, 4
needs_keras_hub = pytest.mark.skipif(
    not keras_hub_peers.INSTALLED, reason="keras-hub is not installed: the extra `bench` has it"
)
needs_torch = pytest.mark.skipif(
    not torch_peers.INSTALLED, reason="torch and transformers are absent: see docs/benchmarks.md"
)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype("float32")


def ours(renormalize: bool, **kwargs) -> MoE:
    layer = MoE(TopK(2, renormalize=renormalize), SwiGLUExperts(EXPERTS, 8), **kwargs)
    layer.build((None, 5, WIDTH))
    return layer


@needs_keras_hub
@pytest.mark.parametrize(
    "make, renormalize",
    [(keras_hub_peers.mixtral_block, True), (keras_hub_peers.qwen3_block, False)],
)
def test_keras_hub_blocks_with_our_weights_compute_the_same(x, make, renormalize):
    layer = ours(renormalize)
    outputs, _ = make(layer, WIDTH)(x)
    np.testing.assert_allclose(array(outputs), array(layer(x)), atol=1e-5)


def fit(layer: keras.layers.Layer, x: np.ndarray) -> float:
    inputs = keras.Input(x.shape[1:])
    outputs = layer(inputs)
    model = keras.Model(inputs, outputs[0] if isinstance(outputs, tuple) else outputs)
    model.compile("sgd", "mse")
    return model.fit(x, x, epochs=1, verbose=0).history["loss"][0]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_our_layer_trains_under_mixed_precision(x, policy):
    router = TopK(2, balance_loss_weight=0.01)
    layer = MoE(router, SwiGLUExperts(EXPERTS, 8, dtype=policy), dtype=policy)
    assert np.isfinite(fit(layer, x))


@needs_keras_hub
@pytest.mark.skipif(not TENSORFLOW, reason="JAX promotes the two types to one")
def test_keras_hub_blocks_do_not_train_under_mixed_precision(x):
    """Recorded, since docs/benchmarks.md says so: should it pass one day, the page must change."""
    from keras_hub.src.models.mixtral.mixtral_decoder import MixtralSparseMoeBlock

    block = MixtralSparseMoeBlock(WIDTH, 6, EXPERTS, dtype="mixed_bfloat16")
    with pytest.raises(Exception, match="bfloat16"):
        fit(block, x)


@needs_torch
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_transformers_block_with_our_weights_computes_the_same(x, implementation):
    layer = ours(renormalize=True)
    block = torch_peers.mixtral_block(layer, WIDTH, implementation)
    np.testing.assert_allclose(torch_peers.run(block, x), array(layer(x)), atol=1e-5)
