from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers.multi_gate.gate import Gate, SelfGate, mix


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 6)).astype("float32")


def test_a_gate_is_softmax_over_what_it_sees(rows):
    gate = Gate(num_experts=4, seen=[1, 3])
    weights = array(gate(rows))
    powers = np.exp(rows @ array(gate.kernel))
    np.testing.assert_allclose(
        weights[:, [1, 3]], powers / powers.sum(axis=-1, keepdims=True), rtol=1e-5
    )
    assert not weights[:, [0, 2]].any()


def test_it_is_float32_under_every_policy(rows):
    gate = Gate(num_experts=4, dtype="mixed_bfloat16")
    assert array(gate(rows)).dtype == np.float32 and gate.compute_dtype == "float32"


def test_dropout_renormalises_in_training_only(rows):
    gate = Gate(num_experts=4, dropout=0.5, seed=1)
    still, dropped = array(gate(rows)), array(gate(rows, training=True))
    assert (still > 0).all()
    np.testing.assert_allclose(dropped.sum(axis=-1), 1, rtol=1e-5)
    share = (dropped == 0).mean()
    assert 0.3 < share < 0.6  # rows that lost all keep all
    kept = dropped > 0
    expected = still * kept / (still * kept).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(dropped, expected, rtol=1e-5)
    assert (array(gate(rows, training=True)) != dropped).any()


def test_gradients_are_finite_where_dropout_takes_all(rows):
    result = step(Gate(num_experts=2, dropout=0.99, seed=1), rows)
    assert all(np.isfinite(g).all() and g.any() for g in [result.input_gradient, *result.gradients])


def test_a_self_gate_of_one_expert_is_its_sigmoid(rows):
    one, two = SelfGate(1), SelfGate(2)
    weights = array(one(rows))
    np.testing.assert_allclose(weights, 1 / (1 + np.exp(-rows @ array(one.kernel))), rtol=1e-5)
    np.testing.assert_allclose(array(two(rows)).sum(axis=-1), 1, rtol=1e-5)


def test_mix_is_the_weighted_sum():
    rng = np.random.default_rng(1)
    weights, outputs = rng.random((3, 2, 4)), rng.random((3, 2, 4, 5))
    expected = np.einsum("abe,abeo->abo", weights, outputs)
    np.testing.assert_allclose(array(mix(weights, outputs)), expected, rtol=1e-5)


def test_bad_dropout_is_named():
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\)\. Received: 1"):
        Gate(2, dropout=1)
