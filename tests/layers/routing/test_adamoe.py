from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import AdaMoE, FFNExperts, MoE, TopK


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(20, 6)).astype("float32")


def scaled(rows: np.ndarray, **settings) -> AdaMoE:
    router = AdaMoE(num_experts=5, scale_initializer="glorot_uniform", **settings)
    router.build(rows.shape)
    return router


@pytest.mark.parametrize("k", [1, 3, 5])
def test_weights_are_gathered_for_the_chosen(rows, k):
    router = scaled(rows, k=k)
    decision = router(rows)
    indices, weights = array(decision.indices), array(decision.weights)
    assert weights.shape == (20, k)  # not (20, 5): the scales of experts not chosen play no part
    scale = rows @ array(router.scale_kernel)
    for token in range(20):
        for column, expert in enumerate(indices[token]):
            expected = array(decision.probabilities)[token, expert] + scale[token, expert]
            np.testing.assert_allclose(weights[token, column], expected, rtol=1e-4, atol=1e-6)


def test_the_choice_does_not_see_the_scale(rows):
    router = scaled(rows, k=2)
    before = array(router(rows).indices)
    router.scale_kernel.assign(100 * array(router.scale_kernel))
    np.testing.assert_array_equal(array(router(rows).indices), before)


def test_it_starts_as_top_k(rows):
    router, plain = AdaMoE(k=2, num_experts=5), TopK(k=2, num_experts=5)
    router.build(rows.shape), plain.build(rows.shape)
    plain.kernel.assign(array(router.kernel))
    np.testing.assert_array_equal(array(router(rows).weights), array(plain(rows).weights))


def test_the_balance_loss_reaches_the_choice_and_not_the_scale(rows):
    layer = MoE(AdaMoE(k=1, balance_loss_weight=1.0), FFNExperts(4, 5), name="moe")
    layer.build(rows.shape)
    router = layer.router
    with_balance = _gradients(layer, rows)
    router.balance_loss_weight = router.z_loss_weight = 0.0
    without = _gradients(layer, rows)
    scale, kernel = "scale_kernel", "kernel"
    assert np.abs(without[scale]).max() > 1e-3
    np.testing.assert_allclose(with_balance[scale], without[scale], rtol=1e-5, atol=1e-6)
    assert np.abs(with_balance[kernel] - without[kernel]).max() > 1e-3


def _gradients(layer: MoE, rows: np.ndarray) -> dict[str, np.ndarray]:
    gradients = step(layer, rows).gradients
    return {
        variable.name: gradient
        for variable, gradient in zip(layer.trainable_variables, gradients, strict=True)
        if variable.path.split("/")[-2] == layer.router.name
    }
