from __future__ import annotations

import numpy as np
import pytest
from keras import ops
from scipy.stats import norm

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MoE, NoisyTopK, RouterInputs, TopK

SOFTPLUS_OF_0 = np.log(2)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(60, 6)).astype("float32")


def inputs_of(rows: np.ndarray, mask=None, training: bool = False) -> RouterInputs:
    return RouterInputs(ops.convert_to_tensor(rows), mask, (len(rows),), None, None, training)


def test_at_inference_it_is_plain_top_k(rows):
    noisy = NoisyTopK(k=3, num_experts=5, kernel_initializer="glorot_uniform")
    plain = TopK(k=3, num_experts=5, softmax="chosen")
    noisy.build(rows.shape), plain.build(rows.shape)
    plain.kernel.assign(noisy.kernel)
    one, two = noisy(rows), plain(rows)
    np.testing.assert_array_equal(array(one.indices), array(two.indices))
    np.testing.assert_allclose(array(one.weights), array(two.weights), rtol=1e-6)
    np.testing.assert_array_equal(array(noisy(rows).weights), array(one.weights))


def test_noise_has_the_learned_size(rows):
    router = NoisyTopK(num_experts=5, seed=1, noise_floor=0.25)
    router.build((None, 2))
    router.noise_kernel.assign(np.array([[0, 1, 2, 3, -9], [0] * 5], "float32"))
    tokens = np.tile([[1.0, 0.0]], (20_000, 1)).astype("float32")
    logits = ops.zeros((20_000, 5))
    drawn = array(router.adjust(logits, inputs_of(tokens, training=True)))
    expected = np.log1p(np.exp([0, 1, 2, 3, -9])) + 0.25
    np.testing.assert_allclose(drawn.std(axis=0), expected, rtol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.1)


def test_smooth_choice_is_the_probability_by_hand(rows):
    router = NoisyTopK(k=2, num_experts=3, kernel_initializer="identity", noise_floor=0.5)
    router.build((None, 3))
    clean = np.array([[3.0, 1.0, 2.0]], "float32")
    noisy = ops.array([[2.5, 2.2, 1.9]])  # experts 0 and 1 are chosen; 2.2 and 1.9 are the bars
    chances = array(router.smooth_choice(noisy, inputs_of(clean)))
    sigma = SOFTPLUS_OF_0 + 0.5
    expected = norm.cdf((clean - [[1.9, 1.9, 2.2]]) / sigma)
    np.testing.assert_allclose(chances, expected, rtol=1e-5)


def test_smooth_load_adds_up_to_about_k_a_token():
    rows = np.random.default_rng(0).normal(size=(4000, 8)).astype("float32")
    router = NoisyTopK(k=2, num_experts=8, kernel_initializer="glorot_uniform", seed=0)
    router.build(rows.shape)
    inputs = inputs_of(rows, training=True)
    chances = array(router.smooth_choice(router.adjust(router.score(inputs), inputs), inputs))
    np.testing.assert_allclose(chances.sum() / 4000, 2, rtol=0.03)


def test_untrained_it_spreads_tokens_evenly(rows):
    router = NoisyTopK(k=2, num_experts=4, kernel_initializer="zeros", seed=0)
    decision = router(np.tile(rows, (100, 1)), training=True)
    importance = array(decision.weight_of_expert()).mean(axis=0)
    np.testing.assert_allclose(importance, 0.25, rtol=0.05)


def test_untrained_it_does_not_collapse_at_inference(rows):
    load = array(NoisyTopK(k=2, num_experts=4)(rows).statistics["load"])
    assert load.min() > 0.1  # a kernel of zeros would send all to experts 0 and 1


def test_losses_are_squared_variations(rows):
    router = NoisyTopK(k=2, num_experts=4, kernel_initializer="glorot_uniform")
    router.build(rows.shape)
    decision = router(rows)
    importance = array(decision.weight_of_expert()).sum(axis=0)
    inputs = inputs_of(rows)
    load = array(router.smooth_choice(router.score(inputs), inputs)).sum(axis=0)
    for name, values in (("importance", importance), ("load", load)):
        expected = 1e-2 * values.var() / values.mean() ** 2
        np.testing.assert_allclose(array(decision.losses[name]), expected, rtol=1e-4)


def test_each_loss_trains_the_router(rows):
    for name in ("importance", "load"):
        other = {"importance": "load", "load": "importance"}[name]
        router = NoisyTopK(k=2, seed=0, **{f"{other}_loss_weight": 0.0})
        layer = MoE(router, FFNExperts(4, 5, kernel_initializer="zeros"))  # no gradient of outputs
        gradients = step(layer, rows).gradients
        paths = [weight.path for weight in layer.trainable_variables]
        for weight in (router.kernel, router.noise_kernel):
            assert gradients[paths.index(weight.path)].any(), (name, weight.path)


def test_padding_enters_no_loss(rows):
    router = NoisyTopK(k=2, num_experts=5, kernel_initializer="glorot_uniform")
    real = router(rows[:25]).losses
    padded = router(np.concatenate([rows[:25], 50 * rows[25:]]), mask=ops.arange(60) < 25).losses
    for name in ("importance", "load"):
        np.testing.assert_allclose(array(padded[name]), array(real[name]), rtol=1e-5)
    nothing = router(rows, mask=ops.zeros((60,), "bool")).losses
    assert all(array(loss) == 0 for loss in nothing.values())


def test_with_all_experts_chosen_the_load_is_even(rows):
    decision = NoisyTopK(k=4, num_experts=4)(rows, training=True)
    assert array(decision.losses["load"]) == 0


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, r"`k` must be at least 1\. Received: k=0"),
        ({"k": 6}, "`k` is 6, but there are only 5 experts"),
        ({"noise_floor": 0}, r"`noise_floor` must be greater than 0\. Received: 0"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        NoisyTopK(**{"num_experts": 5, **settings})(rows)
