from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from keras import ops

from keras_modes import array, step
from moe_apps.layers import FFNExperts, LossFreeTopK, MoE


def router(num_experts: int, **settings) -> LossFreeTopK:
    """A router whose logits are its inputs."""
    router = LossFreeTopK(num_experts=num_experts, kernel_initializer="identity", **settings)
    router.build((None, num_experts))
    return router


def skewed(tokens: int, num_experts: int) -> np.ndarray:
    """Logits that favour the first experts."""
    noise = np.random.default_rng(0).normal(size=(tokens, num_experts))
    return (noise + np.linspace(1.5, -1.5, num_experts)).astype("float32")


class History(NamedTuple):
    """Training steps on one batch of 1001 tokens, two of 16 experts each: no load is the mean."""

    scores: np.ndarray  # (tokens, experts)
    biases: np.ndarray  # (steps, experts), before the step
    choices: np.ndarray  # (steps, tokens, experts) of 0 and 1
    violations: np.ndarray  # (steps,), largest load over the mean, less 1


@pytest.fixture(scope="module")
def history() -> History:
    x, layer = skewed(1001, 16), router(16, k=2, bias_update_rate=4e-3)
    given = ops.convert_to_tensor(x)
    biases, indices = [], []
    for _ in range(160):
        biases.append(array(layer.bias).astype("float64"))
        indices.append(array(layer(given, training=True).indices))
    choices = np.stack([np.eye(16, dtype=int)[chosen].sum(axis=1) for chosen in indices])
    load = choices.sum(axis=1)
    violations = load.max(axis=1) / load.mean(axis=1) - 1
    return History(1 / (1 + np.exp(-x)), np.array(biases), choices, violations)


@pytest.mark.parametrize("scores", ["sigmoid", "softmax"])
def test_weights_are_scores_without_bias(scores):
    x = skewed(20, 4)
    for renormalize in (False, True):
        layer = router(4, k=2, scores=scores, renormalize=renormalize)
        layer.bias.assign([0.0, 0.1, 5.0, 0.0])
        decision = layer(x)
        expected = 1 / (1 + np.exp(-x)) if scores == "sigmoid" else np.exp(x)
        if scores == "softmax":
            expected = expected / expected.sum(axis=-1, keepdims=True)
        indices = array(decision.indices)
        assert (indices[:, 0] == 2).all()  # whatever the score
        biased = expected + np.array([0.0, 0.1, 5.0, 0.0])
        np.testing.assert_array_equal(indices, np.argsort(-biased)[:, :2])
        expected = np.take_along_axis(expected, indices, axis=-1)
        if renormalize:
            expected = expected / expected.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(array(decision.weights), expected, rtol=1e-5)
        np.testing.assert_allclose(array(decision.probabilities).sum(axis=-1), 1, rtol=1e-5)


def test_a_step_moves_the_bias_against_the_load():
    x = np.log([[4.0, 2, 1], [4, 2, 1], [4, 1, 2]]).astype("float32")  # loads 3, 2 and 1 of 6
    layer = router(3, k=2, bias_update_rate=0.5)
    layer(x, training=True)
    np.testing.assert_allclose(array(layer.bias), [-0.5, 0, 0.5])
    layer.settings["bias_update_rate"].assign(0.0)  # frozen
    layer(x, training=True)
    np.testing.assert_allclose(array(layer.bias), [-0.5, 0, 0.5])


def test_padding_is_not_counted():
    x = np.log([[4.0, 2, 1], [4, 2, 1], [4, 1, 2], [1, 2, 4], [1, 2, 4]]).astype("float32")
    layer = router(3, k=2, bias_update_rate=0.5)
    layer(x, mask=ops.arange(5) < 3, training=True)
    np.testing.assert_allclose(array(layer.bias), [-0.5, 0, 0.5])
    layer(x, mask=ops.zeros((5,), "bool"), training=True)
    np.testing.assert_allclose(array(layer.bias), [-0.5, 0, 0.5])


def test_recentring_keeps_the_mean_at_zero():
    layer = router(3, k=1, bias_update_rate=0.3, recenter=True)
    layer(np.array([[9.0, 0, 0]], "float32"), training=True)
    np.testing.assert_allclose(array(layer.bias), [-0.4, 0.2, 0.2], rtol=1e-5)


def test_a_constant_changes_nothing_and_inference_leaves_the_bias_alone():
    x, layer = skewed(50, 4), router(4)
    bias = np.array([0.1, -0.2, 0.05, 0.3], "float32")
    choices = []
    for constant in (0, 1, -2):
        layer.bias.assign(bias + constant)
        choices.append(array(layer(x).indices))
        np.testing.assert_array_equal(array(layer.bias), bias + np.float32(constant))
    np.testing.assert_array_equal(choices[0], choices[1])
    np.testing.assert_array_equal(choices[0], choices[2])


def test_the_load_becomes_even(history):
    assert history.violations[0] > 1.5
    assert history.violations[-20:].max() < 0.1  # the band around the mean
    assert history.biases[-1][:4].max() < history.biases[-1][-4:].min()  # the favoured pay more


def test_every_switch_goes_from_an_overloaded_to_an_underloaded_expert(history):
    load, mean = history.choices.sum(axis=1), 2 * 1001 / 16
    change = np.diff(history.choices, axis=0)  # -1 left, 1 entered
    for now, left, entered in zip(load[:-1], change == -1, change == 1, strict=True):
        assert (now[left.any(axis=0)] > mean).all()
        assert (now[entered.any(axis=0)] < mean).all()
    assert (change == 1).sum() > 1000


def test_the_dual_objective_falls(history):
    # The largest sum of biased scores, less the price of the places: no balanced assignment has a
    # larger sum of scores.
    biased = np.sort(history.scores + history.biases[:, None], axis=-1)[..., -2:]
    dual = biased.sum(axis=(1, 2)) - 2 * 1001 / 16 * history.biases.sum(axis=1)
    far = history.violations[:-1] > 0.15  # outside the band around balance
    assert far[:40].all() and (np.diff(dual)[far] < 0).all()
    reached = (history.scores * history.choices[-1]).sum()
    np.testing.assert_allclose(dual[-1], reached, rtol=5e-3)  # hardly a gap is left


def test_no_gradient_reaches_the_bias():
    layer = MoE(LossFreeTopK(k=1, renormalize=False), FFNExperts(4, 5))
    x = np.random.default_rng(0).normal(size=(2, 9, 6)).astype("float32")
    gradients = step(layer, x).gradients
    trained = [weight.path for weight in layer.trainable_variables]
    assert layer.router.bias.path not in trained
    assert gradients[trained.index(layer.router.kernel.path)].any()
    assert any(weight is layer.router.bias for weight in layer.non_trainable_weights)


def test_a_rate_of_zero_leaves_the_bias_out():
    layer = router(4, bias_update_rate=0.0)
    assert layer.bias is None and not layer.settings
    layer(skewed(5, 4), training=True)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, r"`k` must be at least 1\. Received: k=0"),
        ({"k": 6}, "`k` is 6, but there are only 5 experts"),
        ({"scores": "tanh"}, '`scores` must be "sigmoid" or "softmax"\\. Received: \'tanh\''),
        ({"bias_update_rate": -1}, "`bias_update_rate` must not be negative. Received: -1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        router(5, **settings)
