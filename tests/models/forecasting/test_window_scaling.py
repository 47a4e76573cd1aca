from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, in_mode
from moe_apps.models.forecasting.window_scaling import window_statistics


def test_statistics_are_those_of_the_real_points(mode):
    history = np.random.default_rng(0).normal(40, 3, size=(2, 9)).astype("float32")
    mask = np.arange(9) >= np.array([[0], [4]])
    filled = np.where(mask, history, -1e4).astype("float32")
    mean, scale = in_mode(window_statistics, mode)(filled, mask)
    for row, first in ((0, 0), (1, 4)):
        np.testing.assert_allclose(mean[row, 0], history[row, first:].mean(), rtol=1e-5)
        np.testing.assert_allclose(scale[row, 0], history[row, first:].std(), rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -3e-8])
@pytest.mark.parametrize("length", [1, 7, 1000])
def test_a_constant_window_has_scale_one(value, length):
    mean, scale = window_statistics(np.full((1, length), value, "float32"))
    np.testing.assert_allclose(array(mean), value, rtol=1e-5)
    assert array(scale) == 1


def test_small_but_real_movements_are_kept():
    history = (1000 + np.tile([0.5, -0.5], 50))[None].astype("float32")
    np.testing.assert_allclose(array(window_statistics(history)[1]), 0.5, rtol=1e-3)


def test_a_window_of_padding_is_harmless():
    mean, scale = window_statistics(np.ones((1, 4), "float32"), np.zeros((1, 4), "bool"))
    assert float(mean[0, 0]) == 0 and float(scale[0, 0]) == 1
