from __future__ import annotations

from math import erf

import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import MLPExperts, ModulationExperts, MoE, TopK

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 5, 6)).astype("float32")


def drawn(layer, shape):
    layer.build(shape)
    draw = np.random.default_rng(2).normal
    layer.set_weights([draw(size=weight.shape) for weight in layer.get_weights()])
    return layer


def base_by_hand(bank: ModulationExperts, x: np.ndarray) -> np.ndarray:
    gate = x @ array(bank.base_gate.kernel) + array(bank.base_gate.bias)
    value = x @ array(bank.base_value.kernel) + array(bank.base_value.bias)
    return gate * (1 + np.vectorize(erf)(gate / np.sqrt(2))) / 2 * value


def test_the_mixture_is_the_formula(x):
    layer = drawn(MoE(TopK(k=3, renormalize=True), ModulationExperts(3)), x.shape)
    bank = layer.experts
    z = base_by_hand(bank, x)
    scale, scale_bias, shift, shift_bias = (array(w) for w in bank.stacked_weights)
    weights = array(layer(x, return_routing=True)[1]["weights"])
    expected = sum(
        weights[..., e, None] * ((z @ scale[e] + scale_bias[e]) * z + z @ shift[e] + shift_bias[e])
        for e in range(3)
    )
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("modulation", ["linear", "vector"])
def test_with_scale_one_and_shift_zero_every_expert_is_the_base(x, modulation):
    bank = drawn(ModulationExperts(3, modulation), x.shape)
    for weight in bank.stacked_weights:
        one = weight.name in ("scale", "scale_bias")
        weight.assign(np.full(weight.shape, float(one)))
    outputs = array(bank(bank.prepare(x[:1])))
    for expert in outputs:
        np.testing.assert_allclose(expert, base_by_hand(bank, x[0]), rtol=1e-4, atol=1e-4)


def test_the_base_is_computed_once_a_token(x, monkeypatch):
    layer = MoE(TopK(k=2), ModulationExperts(3), dispatch="capacity")
    layer.build(x.shape)
    rows = []
    base = layer.experts.base_gate.call
    monkeypatch.setattr(layer.experts.base_gate, "call", lambda x: rows.append(x.shape) or base(x))
    layer(x)
    assert rows == [(2, 5, 6)]


def test_an_expert_adds_two_square_matrices_or_two_vectors():
    def count(num_experts: int, modulation: str) -> int:
        bank = ModulationExperts(num_experts, modulation)
        bank.build((None, None, 6))
        return bank.count_params()

    assert count(4, "linear") - count(3, "linear") == 2 * 6 * 6 + 2 * 6
    assert count(4, "vector") - count(3, "vector") == 2 * 6
    ffn = MLPExperts(4, (24, 6))
    ffn.build((None, None, 6))
    assert count(4, "linear") < ffn.count_params()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match='`modulation` must be "linear" or "vector"'):
        ModulationExperts(3, "both")
