from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.deraining.baselines import BASELINES, guided


def test_the_guided_filter_is_that_of_the_formula():
    image = np.random.default_rng(0).integers(0, 256, (9, 10, 3)).astype(np.uint8)
    values = image / 255
    guide = values @ np.array([0.299, 0.587, 0.114])

    def box(x: np.ndarray) -> np.ndarray:
        wide = np.pad(x, 1, mode="symmetric")
        return np.lib.stride_tricks.sliding_window_view(wide, (3, 3)).mean(axis=(2, 3))

    expected = np.empty_like(values)
    for channel in range(3):
        p = values[..., channel]
        slope = (box(guide * p) - box(guide) * box(p)) / (box(guide**2) - box(guide) ** 2 + 0.01)
        offset = box(p) - slope * box(guide)
        expected[..., channel] = box(slope) * guide + box(offset)
    found = guided(image, radius=1, epsilon=0.01)
    assert np.abs(found - 255 * np.clip(expected, 0, 1)).max() < 1


@pytest.mark.parametrize("name", BASELINES)
def test_filters_smooth_noise_and_keep_a_flat_image(name, draw):
    flat = np.full((20, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(BASELINES[name](flat), flat)
    noise = np.random.default_rng(0).normal(scale=12, size=flat.shape)
    noisy = np.clip(flat + noise, 0, 255).astype(np.uint8)
    smooth = BASELINES[name](noisy)
    assert smooth.dtype == np.uint8 and smooth.shape == noisy.shape
    assert (smooth.std() < noisy.std()) == (name != "input")
