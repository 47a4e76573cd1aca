from __future__ import annotations

import math

import numpy as np
import pytest

from moe_apps.pipelines.deraining.image_files import read_picture
from moe_apps.pipelines.deraining.metrics import (
    PROTOCOLS,
    luma,
    psnr,
    rounded_luma,
    score,
    ssim,
    to_8_bit,
)


def test_luma_of_colours_as_matlab_gives_it():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]])
    expected = [16, 235, 81, 145, 41]  # rgb2ycbcr of uint8 images
    assert rounded_luma(colours.astype(np.uint8))[0].tolist() == expected
    np.testing.assert_allclose(luma(colours)[0], [16, 235, 81.481, 144.553, 40.966], atol=1e-9)


def test_psnr_of_a_constant_error(draw):
    truth = np.full((16, 16, 3), 100, np.uint8)
    result = truth + np.array([10, 0, 0], np.uint8)
    assert psnr(result, truth, "C") == pytest.approx(10 * math.log10(255**2 / (100 / 3)))
    assert psnr(result, truth, "B") == pytest.approx(20 * math.log10(255 / (10 * 65.481 / 255)))
    assert psnr(result, truth, "A") == pytest.approx(20 * math.log10(255 / 2))  # 102 and 104
    assert psnr(truth, truth) == math.inf


def ssim_by_hand(one: np.ndarray, two: np.ndarray) -> float:
    """Window by window, from the formula."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for row in range(one.shape[0] - 10):
        for column in range(one.shape[1] - 10):
            a, b = (x[row : row + 11, column : column + 11] for x in (one, two))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a = (weights * a * a).sum() - mean_a**2
            var_b = (weights * b * b).sum() - mean_b**2
            both = (weights * a * b).sum() - mean_a * mean_b
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * both + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return float(np.mean(values))


def test_ssim_is_that_of_the_formula(draw):
    truth, result = draw(0), draw(1)
    expected = ssim_by_hand(rounded_luma(result), rounded_luma(truth))
    assert ssim(result, truth, "A") == pytest.approx(expected, abs=1e-6)
    by_channel = [
        ssim_by_hand(result[..., c].astype(float), truth[..., c].astype(float)) for c in range(3)
    ]
    assert ssim(result, truth, "C") == pytest.approx(np.mean(by_channel), abs=1e-6)


def test_protocol_b_compares_means_of_boxes(draw):
    truth, result = draw(0, 512, 516), draw(1, 512, 516)

    def boxes(image: np.ndarray) -> np.ndarray:
        return luma(image).reshape(256, 2, 258, 2).mean(axis=(1, 3))

    part = (slice(0, 40), slice(0, 40))
    small = ssim_by_hand(boxes(result)[part], boxes(truth)[part])
    assert small == pytest.approx(_ssim_of_planes(boxes(result)[part], boxes(truth)[part]))
    expected = _ssim_of_planes(boxes(result), boxes(truth))
    assert ssim(result, truth, "B") == pytest.approx(expected, abs=1e-9)


def _ssim_of_planes(one: np.ndarray, two: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    return structural_similarity(
        one, two, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )


def test_an_image_smaller_than_the_window_has_a_psnr_only(draw):
    tiny = draw(0, 7, 5)
    assert math.isnan(ssim(tiny, tiny))
    assert score(tiny, draw(1, 7, 5))["psnr"] > 0


def test_every_protocol_says_what_it_is():
    assert {name: protocol.name for name, protocol in PROTOCOLS.items()} == dict(
        zip("ABC", "ABC", strict=True)
    )
    assert all(len(protocol.description) > 20 for protocol in PROTOCOLS.values())


def test_stored_images_are_rounded_and_clipped():
    assert to_8_bit(np.array([-1, 0.4980392, 0.5, 2])).tolist() == [0, 127, 128, 255]


# Input against truth of the 12 and 5 pairs here, measured once by these functions.
REAL = {
    "rain100L": {"A": (25.8147, 0.79476), "B": (25.8173, 0.79492), "C": (24.4594, 0.77898)},
    "rain100H": {"A": (15.0177, 0.38802), "B": (15.0180, 0.38818), "C": (13.6535, 0.36507)},
}


@pytest.mark.parametrize("name", REAL)
def test_real_rain_pairs(rain_data, name):
    inputs = sorted((rain_data / name / "input").iterdir())
    for protocol, (expected_psnr, expected_ssim) in REAL[name].items():
        scores = [
            score(
                read_picture(file).pixels,
                read_picture(rain_data / name / "target" / file.name).pixels,
                protocol,
            )
            for file in inputs
        ]
        assert np.mean([s["psnr"] for s in scores]) == pytest.approx(expected_psnr, abs=5e-4)
        assert np.mean([s["ssim"] for s in scores]) == pytest.approx(expected_ssim, abs=5e-5)
