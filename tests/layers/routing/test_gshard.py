from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import Capacity, FFNExperts, GShardTop2


def router(num_experts: int, **settings) -> GShardTop2:
    """A router whose logits are its inputs."""
    return GShardTop2(num_experts=num_experts, kernel_initializer="identity", **settings)


def test_weights_are_shares_of_the_two_best():
    decision = router(3)(np.log([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]).astype("float32"))
    np.testing.assert_array_equal(array(decision.indices), [[0, 2], [1, 0]])
    np.testing.assert_allclose(array(decision.weights), [[5 / 8, 3 / 8], [8 / 9, 1 / 9]], rtol=1e-5)


def test_a_dropped_pair_leaves_the_other_weight_as_it_was():
    decision = router(2)(np.log([[0.7, 0.3], [0.6, 0.4]]).astype("float32"))
    bank = FFNExperts(2, 3)
    bank.build((None, None, 2))
    tokens = np.ones((2, 2), "float32")
    # One slot an expert: the first token's two choices take both.
    outputs, dropped = Capacity(0.5)(tokens, decision.indices, decision.weights, bank, True)
    per_expert = array(bank(tokens[None, :1]))[:, 0]
    assert float(dropped) == 0.5
    np.testing.assert_allclose(
        array(outputs)[0], 0.7 * per_expert[0] + 0.3 * per_expert[1], rtol=1e-4, atol=1e-6
    )
    assert not array(outputs)[1].any()


def test_second_experts_are_kept_by_chance_in_training():
    # Shares of the second expert 0.05, 0.1 and 0.25: kept in 1 of 4, 1 of 2, and always.
    shares = np.repeat([0.05, 0.1, 0.25], 2000)
    layer = router(2, seed=0)
    decision = layer(np.log(np.stack([1 - shares, shares], 1)).astype("float32"), training=True)
    weights = array(decision.weights)
    np.testing.assert_allclose(weights[:, 0], 1 - shares, rtol=1e-5)  # not renormalised again
    second, is_kept = weights[:, 1], weights[:, 1] > 0
    kept = is_kept.reshape(3, 2000).mean(axis=1)
    np.testing.assert_allclose(kept, [0.25, 0.5, 1], atol=0.05)
    np.testing.assert_allclose(second[is_kept], shares[is_kept], rtol=1e-5)
    np.testing.assert_allclose(
        array(decision.statistics["active_experts"]), 1 + kept.mean(), rtol=1e-5
    )


@pytest.mark.parametrize(
    "settings, training", [({}, False), ({"second_threshold": 0}, True)], ids=["inference", "off"]
)
def test_second_experts_are_always_kept(settings, training):
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype("float32") * 3
    weights = array(router(4, **settings)(rows, training=training).weights)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


def test_balance_counts_first_choices():
    # First choices go to experts 0, 0, 1 and second ones to 1, 1, 0.
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7]], "float32")
    decision = router(2, balance_loss_weight=1.0)(np.log(p))
    expected = 2 * (2 / 3 * 0.6 + 1 / 3 * 0.4)
    np.testing.assert_allclose(array(decision.losses["balance"]), expected, rtol=1e-5)
    np.testing.assert_allclose(array(decision.statistics["load"]), [0.5, 0.5])  # of all pairs


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"second_threshold": 1.5}, r"`second_threshold` must be in \[0, 1\]\. Received: 1\.5"),
        ({"num_experts": 1}, "needs at least 2 experts. Received: num_experts=1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GShardTop2(**{"num_experts": 4, **settings})(np.ones((1, 4), "float32"))
