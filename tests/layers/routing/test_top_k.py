from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import array, in_mode
from moe_apps.layers import RouterInputs, TopK


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 6)).astype("float32")


def decide(router: TopK, rows: np.ndarray, **arguments):
    decision = router(rows, **arguments)
    return decision._replace(
        **{
            name: keras.tree.map_structure(array, getattr(decision, name))
            for name in ("indices", "weights", "probabilities", "losses", "statistics")
        }
    )


def test_it_takes_the_best_in_order_by_their_softmax(rows):
    router = TopK(k=3, num_experts=5)
    decision = decide(router, rows)
    logits = rows @ array(router.kernel)
    np.testing.assert_array_equal(decision.indices, np.argsort(-logits)[:, :3])
    powers = np.exp(logits)
    np.testing.assert_allclose(
        decision.probabilities, powers / powers.sum(axis=-1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_allclose(
        decision.weights, np.take_along_axis(decision.probabilities, decision.indices, axis=-1)
    )
    assert decision.indices.dtype == np.int32 and decision.weights.dtype == np.float32


def test_renormalised_is_softmax_over_the_chosen(rows):
    first = TopK(k=2, num_experts=5, renormalize=True)
    second = TopK(k=2, num_experts=5, softmax="chosen")
    first.build(rows.shape), second.build(rows.shape)
    second.set_weights(first.get_weights())
    one, two = decide(first, rows), decide(second, rows)
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-5)
    np.testing.assert_allclose(one.weights.sum(axis=-1), 1, rtol=1e-5)


def test_a_token_is_routed_by_itself_alone(rows, mode):
    router = TopK(k=2, num_experts=5)
    router.build(rows.shape)
    run = in_mode(lambda x: tuple(router(x)[:3]), mode)
    for whole, alone in zip(run(rows), run(rows[7:8]), strict=True):
        np.testing.assert_allclose(whole[7:8], alone, rtol=1e-6)


def test_masked_tokens_have_no_weight_and_enter_no_loss_or_statistic(rows):
    router = TopK(k=2, num_experts=5, balance_loss_weight=1.0, z_loss_weight=1.0)
    real = decide(router, rows[:25])
    padded = decide(router, np.concatenate([rows[:25], 50 * rows[25:]]), mask=ops.arange(40) < 25)
    assert not padded.weights[25:].any()
    for name in ("losses", "statistics"):
        for key, value in getattr(real, name).items():
            np.testing.assert_allclose(getattr(padded, name)[key], value, rtol=1e-5)


def test_an_all_padding_batch_is_finite(rows):
    router = TopK(k=2, num_experts=5, balance_loss_weight=1.0, z_loss_weight=1.0)
    decision = decide(router, rows, mask=ops.zeros((40,), "bool"))
    assert not decision.statistics["load"].any()
    assert all(np.isfinite(value) for value in decision.losses.values())


def test_statistics(rows):
    decision = decide(TopK(k=2, num_experts=5), rows)
    np.testing.assert_allclose(decision.statistics["load"].sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(
        decision.statistics["load"], np.bincount(decision.indices.ravel(), minlength=5) / 80
    )
    p = decision.probabilities
    np.testing.assert_allclose(
        decision.statistics["entropy"], -(p * np.log(p)).sum(axis=-1).mean(), rtol=1e-5
    )
    assert decision.statistics["active_experts"] == 2


def test_entropy_of_a_certain_router_is_zero(rows):
    router = TopK(k=1, num_experts=3, kernel_initializer="ones")
    decision = decide(router, np.abs(rows))
    np.testing.assert_allclose(decision.statistics["entropy"], np.log(3), rtol=1e-5)
    router.kernel.assign(np.array([[0, 0, 1000.0]] * 6))
    certain = decide(router, np.abs(rows) + 1).statistics["entropy"]
    np.testing.assert_allclose(certain, 0, atol=1e-6)


def test_jitter_is_in_training_only_and_seeded(rows):
    def logits(seed: int, training: bool) -> np.ndarray:
        router = TopK(k=1, num_experts=5, jitter=0.3, seed=seed, kernel_initializer="ones")
        router.build(rows.shape)
        tokens = ops.convert_to_tensor(rows)
        return array(router.score(RouterInputs(tokens, None, (40,), None, None, training)))

    still = rows.sum(axis=1, keepdims=True) * np.ones((1, 5))
    np.testing.assert_allclose(logits(1, False), still, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(logits(1, True), logits(1, True))
    assert (logits(1, True) != logits(2, True)).any()
    distance = np.abs(logits(1, True) - still)
    assert distance.max() > 0 and (distance <= 0.3 * np.abs(rows).sum(axis=1)[:, None] + 1e-5).all()


def test_two_training_calls_draw_different_noise(rows):
    router = TopK(k=1, num_experts=5, jitter=0.3, seed=1)
    first, second = (decide(router, rows, training=True).probabilities for _ in range(2))
    assert (first != second).any()


def test_routing_is_float32_under_every_policy(rows):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        router = TopK(k=2, num_experts=5)
        decision = decide(router, rows)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(
        decision.indices, np.argsort(-(rows @ array(router.kernel)))[:, :2]
    )
    assert decision.probabilities.dtype == np.float32


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, r"`k` must be at least 1\. Received: k=0"),
        ({"softmax": "some"}, r"`softmax` must be \"all\" or \"chosen\"\. Received: 'some'"),
        ({"jitter": 1.0}, r"`jitter` must be in \[0, 1\)\. Received: 1\.0"),
        ({"k": 6, "num_experts": 5}, "`k` is 6, but there are only 5 experts"),
        ({"num_experts": None}, "does not know its number of experts"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        TopK(**{"num_experts": 5, **settings})(rows)
