from __future__ import annotations

import numpy as np
import pytest

from keras_modes import QUICKEST, array, in_mode, step
from moe_apps.layers import FFNExperts, MoE, SoftMoE


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(3, 8, 6)).astype("float32")


def softmax(logits: np.ndarray, axis) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=axis, keepdims=True)


def test_the_layer_is_the_formula(x):
    layer = MoE(SoftMoE(slots=2), FFNExperts(4, 5))
    layer.build(x.shape)
    layer.router.scale.assign(3.0)
    kernel = array(layer.router.kernel)
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    logits = 3 * unit @ (kernel / np.linalg.norm(kernel, axis=0))  # (batch, time, experts * slots)
    slots = np.einsum("bts,btd->bsd", softmax(logits, 1), x)  # of tokens at their own length
    rows = slots.reshape(3, 4, 2, 6).transpose(1, 0, 2, 3).reshape(4, 6, 6)
    outputs = array(layer.experts(rows)).reshape(4, 3, 2, 6).transpose(1, 0, 2, 3)
    expected = np.einsum("bts,bso->bto", softmax(logits, -1), outputs.reshape(3, 8, 6))
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-4, atol=1e-5)


def test_dispatch_sums_to_one_over_tokens_and_combination_over_slots(x):
    decision = SoftMoE(slots=2, num_experts=4)(x)
    np.testing.assert_allclose(array(decision.dispatch).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(array(decision.weights).sum(axis=(2, 3)), 1, rtol=1e-5)
    shares = array(decision.weights).sum(axis=3).reshape(24, 4)
    np.testing.assert_allclose(array(decision.probabilities), shares, rtol=1e-5)
    np.testing.assert_allclose(array(decision.statistics["load"]), shares.mean(axis=0), rtol=1e-5)
    assert array(decision.statistics["active_experts"]) == 4


def test_tokens_may_be_permuted(x):
    layer = MoE(SoftMoE(slots=2), FFNExperts(4, 5))
    layer.build(x.shape)
    run = in_mode(layer, QUICKEST)
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_allclose(run(x[:, order]), run(x)[:, order], rtol=1e-4, atol=1e-5)


def test_only_directions_count_for_the_routing(x):
    router = SoftMoE(slots=2, num_experts=4)
    np.testing.assert_allclose(
        array(router(5 * x).dispatch), array(router(x).dispatch), rtol=1e-4, atol=1e-6
    )


def test_padding_is_as_if_it_were_not_there(x):
    layer = MoE(SoftMoE(slots=2), FFNExperts(4, 5))
    layer.build(x.shape)
    mask = np.broadcast_to(np.arange(8) < 5, (3, 8))
    masked = array(layer(x, mask=mask))
    np.testing.assert_allclose(masked[:, :5], array(layer(x[:, :5])), rtol=1e-4, atol=1e-5)
    assert not masked[:, 5:].any()


def test_an_example_of_padding_alone_is_finite(x):
    layer = MoE(SoftMoE(), FFNExperts(4, 5))
    mask = np.broadcast_to(np.array([[True], [False], [True]]), (3, 8))
    result = step(layer, x, mask=mask)
    assert not result.outputs[1].any() and not result.input_gradient[1].any()
    assert all(np.isfinite(gradient).all() for gradient in result.gradients)


def test_all_of_the_router_is_trained_and_zeros_are_harmless(x):
    layer = MoE(SoftMoE(z_loss_weight=0.1), FFNExperts(4, 5))
    result = step(layer, np.concatenate([x, np.zeros_like(x[:, :1])], axis=1))
    paths = [weight.path for weight in layer.trainable_variables]
    for weight in (layer.router.kernel, layer.router.scale):
        gradient = result.gradients[paths.index(weight.path)]
        assert np.isfinite(gradient).all() and gradient.any()
    assert np.isfinite(result.input_gradient).all()


def test_noise_is_in_training_only_and_seeded(x):
    def dispatch(training: bool, seed: int = 1) -> np.ndarray:
        router = SoftMoE(num_experts=4, noise=0.5, seed=seed, kernel_initializer="ones")
        return array(router(x, training=training).dispatch)

    np.testing.assert_allclose(dispatch(False)[..., :1, :], dispatch(False)[..., 1:2, :])
    assert (dispatch(True) != dispatch(False)).any()
    np.testing.assert_array_equal(dispatch(True), dispatch(True))
    assert (dispatch(True) != dispatch(True, seed=2)).any()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"slots": 0}, "`slots` must be at least 1. Received: 0"),
        ({"noise": -0.1}, "`noise` must not be negative. Received: -0.1"),
        ({"num_experts": None}, "does not know its number of experts"),
    ],
)
def test_bad_settings_are_named(x, settings, message):
    with pytest.raises(ValueError, match=message):
        SoftMoE(**{"num_experts": 4, **settings})(x)
