from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array
from moe_apps.models.forecasting.rolling import roll


def count_up(window, mask, known):
    """The last value and one more for each step."""
    return window[:, -1:] + ops.arange(1, 4, dtype="float32")


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 6, 11])
@pytest.mark.parametrize("time", [1, 5, 9])
def test_blocks_follow_each_other(horizon, time):
    history = np.zeros((2, time), "float32")
    forecast = array(roll(count_up, history, horizon, look_back=5, steps=3))
    np.testing.assert_array_equal(forecast, np.tile(np.arange(1.0, horizon + 1), (2, 1)))


def test_a_block_is_given_the_window_its_mask_and_what_is_known_of_its_steps():
    seen = []

    def block(window, mask, known):
        seen.append((array(window), array(mask), array(known)))
        return window[:, -1:] + ops.arange(1, 3, dtype="float32")

    history = np.array([[7.0, 8.0]], "float32")
    known = np.arange(2 + 2, dtype="float32")[None, :, None]  # of two points and two steps
    roll(block, history, 2, look_back=3, steps=2, known=known)
    window, mask, marks = seen[0]
    assert window.tolist() == [[0, 7, 8]] and mask.tolist() == [[False, True, True]]
    assert marks[0, :, 0].tolist() == [0, 0, 1, 2, 3]
    shifted = []
    roll(
        lambda w, m, k: (shifted.append(k), w[:, :2])[1],
        np.zeros((1, 4), "float32"),
        2,
        look_back=3,
        steps=2,
        known=np.arange(6, dtype="float32")[None, :, None],
    )
    assert array(shifted[0])[0, :, 0].tolist() == [1, 2, 3, 4, 5]
