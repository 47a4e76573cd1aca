from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array, step
from moe_apps.layers import BlockFFNRouter, FFNExperts, MoE
from moe_apps.layers.routing.block_ffn import (
    activation_locality_loss,
    chunk_level_sparsity,
    chunk_loss,
    token_level_sparsity,
)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 7, 6)).astype("float32")


def test_weights_are_the_normalised_positive_scores(x):
    router = BlockFFNRouter(num_experts=4)
    router.build(x.shape)
    router.gamma.assign([1.0, 2.0, -1.0, 0.5])
    weights = array(router(x).weight_of_expert())
    scores = x.reshape(14, 6) @ array(router.kernel)
    active = np.maximum(scores, 0)
    expected = active / np.sqrt((active**2).mean(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(weights, expected * [1, 2, -1, 0.5], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weights == 0, scores <= 0)


def test_the_length_of_a_token_does_not_matter(x):
    router = BlockFFNRouter(num_experts=4)
    one, two = (array(router(value).weight_of_expert()) for value in (100 * x, 700 * x))
    np.testing.assert_allclose(one, two, rtol=1e-3)


def test_a_token_without_positive_scores_gets_zero_and_finite_gradients(x):
    router = BlockFFNRouter(kernel_initializer="ones", chunk=4)
    layer = MoE(router, FFNExperts(4, 5, activation="silu", use_bias=False), dispatch="dense")
    result = step(layer, np.where(np.arange(7)[:, None] < 4, -np.abs(x), np.abs(x)), "eager")
    assert not result.outputs[:, :4].any() and result.outputs[:, 4:].any()
    assert all(np.isfinite(g).all() for g in [result.input_gradient, *result.gradients])
    zeros = step(layer, np.zeros_like(x), "eager")
    assert not zeros.outputs.any() and np.isfinite(zeros.input_gradient).all()


def test_dispatches_agree_and_the_task_trains_router_and_gain(x):
    router = BlockFFNRouter(chunk_loss_weight=0.0, locality_loss_weight=0.0)
    layers = [MoE(router, FFNExperts(4, 5), dispatch=d) for d in ("dense", "dropless")]
    layers[0].build(x.shape)
    layers[1].experts = layers[0].experts
    layers[1].build(x.shape)
    dense, sparse = (step(layer, x, "eager") for layer in layers)
    np.testing.assert_allclose(sparse.outputs, dense.outputs, rtol=1e-4, atol=1e-5)
    kernel, gamma = dense.gradients[:2]
    assert kernel.any() and gamma.any()


def test_k_max_keeps_the_highest(x):
    every, two = BlockFFNRouter(num_experts=4), BlockFFNRouter(k_max=2, num_experts=4)
    for router in (every, two):
        router.build(x.shape)
    two.set_weights(every.get_weights())
    whole, kept = array(every(x).weight_of_expert()), array(two(x).weight_of_expert())
    lowest = np.sort(whole, axis=1)[:, 2:3]
    np.testing.assert_allclose(kept, np.where(whole >= lowest, whole, 0), rtol=1e-5)
    assert ((whole > 0).sum(axis=1) > 2).any()


def test_chunk_loss_by_hand():
    shares = np.zeros((1, 5, 2), "float32")
    ones = np.ones((1, 5), "float32")
    assert float(chunk_loss(shares, ones, 2)) == 0
    shares[0, :, 0] = [1.0, 1.0, 0.0, 0.5, 0.5]
    # Chunks of two: expert 0 is touched by 1, 0.5 and, in the last one, short, 0.5.
    expected = (1 + 0.5 + 0.5) / 3 / 2
    np.testing.assert_allclose(float(chunk_loss(shares, ones, 2)), expected, rtol=1e-3)
    assert 0.99 < float(chunk_loss(np.ones((2, 9, 3), "float32"), np.ones((2, 9)), 4)) <= 1


def test_padding_is_left_out_of_losses_and_sparsities():
    random = np.random.default_rng(0)
    values = random.uniform(size=(2, 12, 3)).astype("float32")
    values[values < 0.6] = 0
    real = (np.arange(12) < 7).astype("float32") * np.ones((2, 1), "float32")
    short, all_real = values[:, :7], np.ones((2, 7), "float32")
    for function in (
        lambda v, r: chunk_loss(v, r, 3),
        activation_locality_loss,
        lambda v, r: chunk_level_sparsity(v, 3, r),
        token_level_sparsity,
    ):
        padded, expected = float(function(values, real)), float(function(short, all_real))
        np.testing.assert_allclose(padded, expected, rtol=1e-5)
        assert expected > 0


def test_locality_is_cheap_for_equal_neighbours_and_dear_for_changes():
    ones = np.ones((1, 4), "float32")
    steady = np.tile([[[0.5, -0.5]]], (1, 4, 1)).astype("float32")
    changing = steady * np.array([1, -1, 1, -1])[:, None].astype("float32")
    assert float(activation_locality_loss(steady, ones)) < 1e-6
    # A wrong side at 100 * 0.5 costs 50 nats.
    np.testing.assert_allclose(float(activation_locality_loss(changing, ones)), 50, rtol=1e-3)


def test_sparsities_by_hand_and_their_order():
    weights = np.zeros((1, 4, 2), "float32")
    weights[0, 0, 0] = weights[0, 1, 0] = weights[0, 3, 1] = 0.3
    assert float(token_level_sparsity(weights)) == 5 / 8
    assert float(chunk_level_sparsity(weights, 2)) == 0.5
    assert float(chunk_level_sparsity(weights, 3)) == 0.5  # 1/2 of 3 tokens and 1/2 of 1
    assert float(chunk_level_sparsity(weights, 4)) == 0
    random = np.random.default_rng(0)
    many = (random.uniform(size=(3, 13, 5)) < 0.2).astype("float32")
    by_length = [float(chunk_level_sparsity(many, n)) for n in range(1, 14)]
    assert max(by_length) == by_length[0] == pytest.approx(float(token_level_sparsity(many)))


def test_losses_are_added_with_their_weights_and_one_is_a_setting(x):
    router = BlockFFNRouter(num_experts=4, chunk=3)
    losses = router(x, training=True).losses
    shares = array(router(x).probabilities).reshape(2, 7, 4)
    np.testing.assert_allclose(
        float(losses["chunk"]), 0.05 * float(chunk_loss(shares, np.ones((2, 7)), 3)), rtol=1e-4
    )
    logits = ops.matmul(x, router.kernel)
    locality = float(activation_locality_loss(logits, ops.ones((2, 7))))
    np.testing.assert_allclose(float(losses["locality"]), 0.002 * locality, rtol=1e-4)
    router.settings["chunk_loss_weight"].assign(0.1)
    np.testing.assert_allclose(
        float(router(x).losses["chunk"]), 2 * float(losses["chunk"]), rtol=1e-5
    )


def test_bad_settings_are_named():
    for settings, message in (
        ({"k_max": 0}, "`k_max` must be at least 1. Received: 0"),
        ({"chunk": 0}, "`chunk` must be at least 1. Received: 0"),
        ({"k_max": 5, "num_experts": 4}, "`k_max` is 5, but there are only 4 experts"),
    ):
        with pytest.raises(ValueError, match=message):
            BlockFFNRouter(**settings).build((None, 3))
