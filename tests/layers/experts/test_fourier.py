from __future__ import annotations

import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import FourierExperts

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 4, 6)).astype("float32")


def test_it_is_the_formula(rows):
    bank = FourierExperts(3, hidden_dim=9, output_dim=8, activation="tanh")
    bank.build(rows.shape)
    outputs = array(bank(rows))

    def fourier(x: np.ndarray, frequencies: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        phase = x @ frequencies
        return np.concatenate([np.cos(phase), np.sin(phase), np.tanh(x @ kernel)], axis=-1)

    frequencies_1, kernel_1, frequencies_2, kernel_2 = bank.get_weights()
    assert frequencies_1.shape == (3, 6, 2) and kernel_1.shape == (3, 6, 5)
    assert frequencies_2.shape == (3, 9, 2) and kernel_2.shape == (3, 9, 4)
    expected = fourier(fourier(rows, frequencies_1, kernel_1), frequencies_2, kernel_2)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_outputs_are_bounded_but_for_the_plain_part(rows):
    outputs = array(FourierExperts(3, hidden_dim=16, output_dim=8)(1000 * rows))
    waves, plain = outputs[..., :4], outputs[..., 4:]
    np.testing.assert_allclose(waves[..., :2] ** 2 + waves[..., 2:] ** 2, 1, rtol=1e-4)
    assert plain.min() > -0.2 and plain.max() > 10


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_frequencies_start_as_wide_as_asked(scale):
    bank = FourierExperts(2, hidden_dim=400, frequency_scale=scale)
    bank.build((None, None, 50))
    frequencies = bank.get_weights()[0]
    np.testing.assert_allclose(frequencies.std(), scale, rtol=0.05)
    assert (frequencies[0] != frequencies[1]).any()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"hidden_dim": 3}, r"`hidden_dim` must be at least 4\. Received: 3"),
        ({"output_dim": 2}, r"`output_dim` must be at least 4\. Received: 2"),
        ({"frequency_scale": 0.0}, r"`frequency_scale` must be greater than 0\. Received: 0\.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FourierExperts(**{"num_experts": 3, "hidden_dim": 8, **settings})
    with pytest.raises(ValueError, match=r"at least 4 features\. Received: 3"):
        FourierExperts(3, 8).build((None, None, 3))
