from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, in_mode
from moe_apps.layers import FFNExperts, MoE, SMoEDropout


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(20, 6)).astype("float32")


def test_k_changes_without_compiling_again(rows, mode):
    router = SMoEDropout(k=2, num_experts=5)
    router.build(rows.shape)
    run = in_mode(lambda x, k: _with_k(router, x, k), mode)
    logits = rows @ array(router.kernel)
    order = np.argsort(-logits)
    for k in (1, 3, 5):
        indices, weights = run(rows, np.float32(k))
        np.testing.assert_array_equal(indices, order)
        chosen = np.exp(np.take_along_axis(logits, order[:, :k], axis=1))
        np.testing.assert_allclose(
            weights[:, :k], chosen / chosen.sum(axis=1, keepdims=True), rtol=1e-4
        )
        assert not weights[:, k:].any() and weights.shape == (20, 5)


def _with_k(router, x, k):
    """The decision with the setting given as a tensor, as a compiled step sees it."""
    scope = keras.StatelessScope([(router.settings["k"], k)])
    with scope:
        decision = router(x)
    return decision.indices, decision.weights


def test_k_of_all_is_the_dense_mixture(rows):
    layer = MoE(SMoEDropout(k=4), FFNExperts(4, 5))
    outputs = array(layer(rows))
    p = np.exp(rows @ array(layer.router.kernel))
    everyone = array(layer.experts(rows[None]))
    expected = np.einsum("ne,ned->nd", p / p.sum(axis=1, keepdims=True), everyone.swapaxes(0, 1))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k, active", [(2.2, 3), (0.0, 1), (99.0, 5)])
def test_any_value_of_k_is_understood(rows, k, active):
    router = SMoEDropout(num_experts=5)
    router.build(rows.shape)
    router.settings["k"].assign(k)
    assert array(router(rows).statistics["active_experts"]) == active


def test_training_leaves_the_router_as_it_was(rows):
    inputs = keras.Input((6,))
    layer = MoE(SMoEDropout(k=2), FFNExperts(4, 5))
    model = keras.Model(inputs, layer(inputs))
    before = [array(layer.router.kernel), array(layer.experts.stacked_weights[0])]
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1), "mse")
    model.fit(rows, rows, epochs=2, verbose=0)
    np.testing.assert_array_equal(array(layer.router.kernel), before[0])
    assert (array(layer.experts.stacked_weights[0]) != before[1]).any()
    assert not layer.router.trainable_variables


@pytest.mark.parametrize(
    "k, message", [(0, r"`k` must be at least 1\. Received: k=0"), (6, "there are only 5 experts")]
)
def test_bad_k_is_named(rows, k, message):
    with pytest.raises(ValueError, match=message):
        SMoEDropout(k=k, num_experts=5)(rows)
