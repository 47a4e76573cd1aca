from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import MLPExperts


def test_by_hand():
    bank = MLPExperts(2, units=(3, 2), activation="tanh", output_activation=None)
    x = np.random.default_rng(0).normal(size=(2, 4, 5)).astype("float32")
    bank.build(x.shape)
    bank.stacked_weights[1].assign(np.full((2, 1, 3), 0.5))
    kernel_0, bias_0, kernel_1, bias_1 = (array(w) for w in bank.stacked_weights)
    expected = np.tanh(x @ kernel_0 + bias_0) @ kernel_1 + bias_1
    np.testing.assert_allclose(array(bank(x)), expected, rtol=1e-5, atol=1e-6)
    assert bank.features_out(5) == 2


@pytest.mark.parametrize("units", [(), (4, 0)])
def test_bad_units_are_named(units):
    with pytest.raises(ValueError, match="`units` must name at least one width, all positive"):
        MLPExperts(2, units)
