from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import DynaMoE, layer_schedule

EXPERTS = 6


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(200, EXPERTS)).astype("float32")


def router(**settings) -> DynaMoE:
    """A router whose logits are its inputs."""
    return DynaMoE(**{"num_experts": EXPERTS, "kernel_initializer": "identity", **settings})


def active(decision) -> np.ndarray:
    return (array(decision.weights) > 0).sum(axis=-1)


def test_experts_above_the_threshold_are_active(rows):
    decision = router(threshold=0.9)(rows)
    p = np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True)
    above = p >= 0.9 / EXPERTS
    np.testing.assert_array_equal(array(decision.weight_of_expert()) > 0, above)
    np.testing.assert_array_equal(active(decision), above.sum(axis=-1))


def test_the_number_differs_from_token_to_token(rows):
    """A threshold at a percentile of the token's own scores would fix it."""
    count = active(router()(rows))
    assert len(set(count)) >= 3 and count.min() >= 1


def test_weights_are_the_softmax_over_the_active(rows):
    decision = router()(rows)
    weights, indices = array(decision.weights), array(decision.indices)
    powers = np.where(weights > 0, np.exp(np.take_along_axis(rows, indices, axis=-1)), 0)
    np.testing.assert_allclose(weights, powers / powers.sum(axis=-1, keepdims=True), rtol=1e-5)


def test_the_budget_bounds_the_number_from_above_and_one_from_below(rows):
    layer = router(k_max=3)
    layer.build(rows.shape)
    for threshold, counts in ((0.0, {3}), (1.0, {1, 2, 3}), (100.0, {1})):
        layer.settings["threshold"].assign(threshold)
        decision = layer(rows)
        assert set(active(decision)) == counts
        np.testing.assert_allclose(array(decision.weights).sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "name, budgets",
    [
        ("uniform", [5, 5, 5, 5, 5]),
        ("descending", [8, 7, 5, 4, 2]),  # 6.5 and 3.5 are rounded up
        ("ascending", [2, 4, 5, 7, 8]),
        ("pyramid", [2, 5, 8, 5, 2]),
        ("valley", [8, 5, 2, 5, 8]),
        ("wave", [5, 5, 5, 5, 5]),  # five layers stand where the sine is 0
    ],
)
def test_schedules_of_five_layers(name, budgets):
    assert layer_schedule(name, 5, minimum=2, maximum=8) == budgets


def test_the_wave_has_two_periods():
    wave = layer_schedule("wave", 17, minimum=1, maximum=9)
    assert wave[:9] == wave[8:]
    assert wave[2] == wave[10] == 9 and wave[6] == wave[14] == 1


@pytest.mark.parametrize(
    "name", ["uniform", "descending", "ascending", "pyramid", "valley", "wave"]
)
@pytest.mark.parametrize("num_layers", [1, 2, 7])
def test_schedules_keep_their_bounds(name, num_layers):
    budgets = layer_schedule(name, num_layers, minimum=1, maximum=4)
    assert len(budgets) == num_layers and all(1 <= budget <= 4 for budget in budgets)
    assert all(type(budget) is int for budget in budgets)
    assert layer_schedule(name, num_layers, minimum=3, maximum=3) == [3] * num_layers


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("steep", 4, 1, 2), "`name` must be one of .*'wave'.*Received: 'steep'"),
        (("wave", 0, 1, 2), "`num_layers` must be at least 1. Received: 0"),
        (("wave", 4, 0, 2), "Received: minimum=0, maximum=2"),
        (("wave", 4, 3, 2), "Received: minimum=3, maximum=2"),
    ],
)
def test_bad_schedules_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_schedule(*arguments)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"threshold": -1}, "`threshold` must not be negative. Received: -1"),
        ({"k_max": 0}, r"`k_max` must be at least 1\. Received: 0"),
        ({"k_max": 7}, "`k_max` is 7, but there are only 6 experts"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        router(**settings)(rows)
