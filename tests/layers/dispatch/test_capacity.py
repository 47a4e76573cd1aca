from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
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


@pytest.mark.parametrize("name", ["factor", "inference_factor"])
def test_factors_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be greater than 0. Received: 0"):
        Capacity(**{name: 0})
