from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import LoRAExperts


def test_by_hand():
    bank = LoRAExperts(2, rank=3, alpha=6, output_dim=4)
    x = np.random.default_rng(0).normal(size=(2, 7, 5)).astype("float32")
    assert not array(bank(x)).any() and bank.features_out(5) == 4
    a, b = bank.stacked_weights
    assert array(a).std() > 0.2
    b.assign(np.random.default_rng(1).normal(size=b.shape))
    np.testing.assert_allclose(array(bank(x)), 2 * (x @ array(a) @ array(b)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rank": 0}, r"`rank` must be at least 1\. Received: 0"),
        ({"alpha": 0.0}, r"`alpha` must be positive\. Received: 0\.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        LoRAExperts(2, **settings)
