from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array
from moe_apps.layers.routing.selectors import Paths, smooth_step


@pytest.mark.parametrize("gamma", [1.0, 0.3])
def test_the_smooth_step_reaches_both_ends_and_has_no_corner(gamma):
    t = np.linspace(-gamma, gamma, 2001).astype("float32")
    s = array(smooth_step(ops.convert_to_tensor(t), gamma))
    inside = np.abs(t) < gamma / 2
    formula = -2 * t**3 / gamma**3 + 3 * t / (2 * gamma) + 0.5
    np.testing.assert_allclose(s[inside], formula[inside], atol=1e-6)
    assert (s[t <= -gamma / 2] == 0).all() and (s[t >= gamma / 2] == 1).all()
    slope = np.diff(s) / np.diff(t)
    assert np.abs(np.diff(slope)).max() < 0.02 / gamma  # the slope has no jump, at the knees either


def test_paths_of_unequal_length_multiply_their_own_splits():
    paths = Paths([[(0, 1)], [(0, 0), (1, 1)], [(0, 0), (1, 0)]])
    shares = array(paths.shares(ops.convert_to_tensor([[0.25, 0.5], [1.0, 0.3]])))
    np.testing.assert_allclose(shares, [[0.25, 0.375, 0.375], [1, 0, 0]])
