from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import MixLoRAExperts, MoE, SwiGLU, TopK


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(9, 6)).astype("float32")


def test_at_first_it_is_the_base_if_the_gates_sum_to_1_and_only_then(rows):
    base = SwiGLU(5)
    outputs = {
        renormalize: array(
            MoE(TopK(2, renormalize=renormalize), MixLoRAExperts(4, base, rank=2))(rows)
        )
        for renormalize in (True, False)
    }
    np.testing.assert_allclose(outputs[True], array(base(rows)), rtol=1e-4, atol=1e-6)
    assert np.abs(outputs[False] - array(base(rows))).max() > 1e-2


def test_an_expert_is_the_network_with_merged_matrices(rows):
    bank = MixLoRAExperts(2, SwiGLU(5), rank=3, alpha=6)
    bank.build((None, None, 6))
    rng = np.random.default_rng(1)
    for weight in bank.stacked_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    gate, up, down = (array(w) for w in bank.base.weights)
    parts = [array(w)[1] for w in bank.stacked_weights]
    gate, up, down = (
        kernel + 2 * a @ b
        for kernel, a, b in zip((gate, up, down), parts[::2], parts[1::2], strict=True)
    )
    hidden = rows @ gate
    expected = (hidden / (1 + np.exp(-hidden)) * (rows @ up)) @ down
    np.testing.assert_allclose(array(bank(rows[None]))[1], expected, rtol=1e-3, atol=1e-4)


def test_only_the_updates_and_the_router_are_trained(rows):
    layer = MoE(TopK(2, renormalize=True), MixLoRAExperts(4, SwiGLU(5), rank=2))
    layer.build(rows.shape)
    layer.trainable = True
    assert not layer.experts.base.trainable_weights
    assert len(layer.trainable_weights) == 1 + 6
    gradients = step(layer, rows, training=False).gradients
    paths = [weight.path for weight in layer.trainable_weights]
    moved = [p.split("/")[-1] for p, g in zip(paths, gradients, strict=True) if g.any()]
    assert [name for name in moved if name != "kernel"] == ["gate_b", "up_b", "down_b"]  # A after B


@pytest.mark.parametrize("base", [SwiGLU(5, gated=True), TopK(2)], ids=["gated", "router"])
def test_a_bad_base_is_named(base):
    with pytest.raises(ValueError, match="`base` must be a `SwiGLU` without output gate"):
        MixLoRAExperts(4, base)
