from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, in_mode
from moe_apps.layers import Capacity, SwiGLUExperts


@pytest.fixture
def bank() -> SwiGLUExperts:
    bank = SwiGLUExperts(2, 5)
    bank.build((None, None, 3))
    return bank


def dispatch(bank, indices, weights, **factors):
    """Share of each token's weight that was served, and the drop rate."""
    tokens = np.ones((len(indices), 3), "float32")
    per_expert = array(bank(tokens[None, :1]))[:, 0]  # (experts, features), equal tokens
    run = Capacity(**factors)
    outputs, dropped = run(tokens, np.array(indices), np.array(weights, "float32"), bank, True)
    return array(outputs), per_expert, float(dropped)


@pytest.mark.parametrize(
    "factor, tokens, k, experts, slots",
    [
        (1.0, 16, 2, 8, 4),
        (1.25, 16, 2, 8, 5),
        (1.0, 17, 2, 8, 5),  # rounded up
        (1.1, 10, 1, 1, 10),  # an expert sees a token once at most
        (0.1, 4, 1, 8, 1),
    ],
)
def test_slots_count_the_choices(factor, tokens, k, experts, slots):
    assert Capacity(factor).slots(tokens, k, experts, training=True) == slots
    assert int(Capacity(factor).slots(np.int32(tokens), k, experts, training=True)) == slots


def test_factors_of_training_and_inference():
    run = Capacity(factor=1.0, inference_factor=2.0)
    assert run.slots(16, 2, 8, training=True) == 4
    assert run.slots(16, 2, 8, training=False) == run.slots(16, 2, 8, training=None) == 8


def test_first_choices_go_first_and_the_rest_is_counted(bank):
    indices, weights = [[0, 1], [0, 1], [1, 0], [1, 0]], [[0.6, 0.4]] * 4
    outputs, own, dropped = dispatch(bank, indices, weights, factor=0.5)  # two slots an expert
    assert dropped == 0.5
    expected = 0.6 * own[[0, 0, 1, 1]]  # survivors are not rescaled
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_tokens_are_served_in_order_and_a_dropped_one_gets_zero(bank):
    outputs, own, dropped = dispatch(bank, [[0]] * 6, [[1.0]] * 6, factor=1.0)
    assert dropped == 0.5
    np.testing.assert_allclose(outputs[:3], np.tile(own[0], (3, 1)), rtol=1e-5)
    assert not outputs[3:].any()


def test_inactive_pairs_take_no_slot_and_are_not_counted(bank):
    weights = [[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]]
    outputs, own, dropped = dispatch(bank, [[0]] * 6, weights, factor=1.0)
    assert dropped == 0
    assert not outputs[:3].any()
    np.testing.assert_allclose(outputs[3:], np.tile(own[0], (3, 1)), rtol=1e-5)


def test_the_most_probable_tokens_are_served_first(bank):
    tops = [0.3, 0.9, 0.5, 0.9, 0.2, 0.7]
    outputs, own, dropped = dispatch(
        bank, [[0]] * 6, [[top] for top in tops], factor=1.0, priority="probability"
    )
    assert dropped == 0.5
    served = np.array([0, 0.9, 0, 0.9, 0, 0.7])[:, None]  # three slots an expert
    np.testing.assert_allclose(outputs, served * own[0], rtol=1e-5)


def test_priority_is_the_tokens_and_first_choices_still_go_first(bank):
    # One slot an expert. Token 2 has the highest top weight, so it takes expert 1 at once. Among
    # first choices of expert 0, token 1 goes before token 0; both second choices come too late.
    indices, weights = [[0, 1], [0, 1], [1, 0]], [[0.6, 0.4], [0.7, 0.3], [0.9, 0.1]]
    outputs, own, dropped = dispatch(bank, indices, weights, factor=1 / 3, priority="probability")
    np.testing.assert_allclose(dropped, 4 / 6)
    np.testing.assert_allclose(outputs[1], 0.7 * own[0], rtol=1e-5)
    np.testing.assert_allclose(outputs[2], 0.9 * own[1], rtol=1e-5)
    assert not outputs[0].any()


def test_equal_weights_keep_the_order(bank):
    by_order, by_probability = (
        dispatch(bank, [[0]] * 6, [[0.5]] * 6, factor=1.0, priority=priority)[0]
        for priority in ("order", "probability")
    )
    np.testing.assert_array_equal(by_probability, by_order)


def test_who_is_served_is_as_counted_by_hand_in_every_mode(bank, mode):
    random = np.random.default_rng(0)
    num_tokens, num_experts, k = 24, 2, 2
    tokens = random.normal(size=(num_tokens, 3)).astype("float32")
    indices = np.argsort(random.random((num_tokens, num_experts)))[:, :k].astype("int32")
    weights = random.random((num_tokens, k)).astype("float32")
    weights[5] = 0  # padding takes no slot
    run = Capacity(0.3, priority="probability")
    outputs = in_mode(lambda *given: run(*given, bank, True)[0], mode)(tokens, indices, weights)

    per_expert = array(bank(tokens[None]))  # (experts, tokens, features)
    slots = run.slots(num_tokens, k, num_experts, True)
    taken, expected = [0] * num_experts, np.zeros((num_tokens, 3))
    for choice in range(k):
        for token in np.argsort(-weights.max(axis=1), kind="stable"):
            expert, weight = indices[token, choice], weights[token, choice]
            if weight and taken[expert] < slots:
                taken[expert] += 1
                expected[token] += weight * per_expert[expert, token]
    assert taken == [slots] * num_experts
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_priority_is_one_of_two():
    with pytest.raises(ValueError, match=r"`priority` must be .* Received: 'size'"):
        Capacity(priority="size")


def test_settings_come_back():
    config = {
        "factor": 1.5,
        "inference_factor": 3.0,
        "priority": "probability",
        "scheduled": True,
    }
    assert Capacity.from_config(Capacity(**config).get_config()).get_config() == config


@pytest.mark.parametrize("name", ["factor", "inference_factor"])
def test_factors_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be greater than 0. Received: 0"):
        Capacity(**{name: 0})
