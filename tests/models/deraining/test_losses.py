from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.ndimage import laplace
from skimage.metrics import peak_signal_noise_ratio

from keras_modes import QUICKEST, in_mode
from moe_apps.models.deraining import RestorationLoss


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return tuple(draw.random((2, 8, 6, 3)).astype("float32") * 3 for _ in range(2))


@pytest.mark.parametrize(
    "pixel, error",
    [
        ("l1", np.abs),
        ("charbonnier", lambda d: np.sqrt(d**2 + 1e-6)),
        ("smooth_l1", lambda d: np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5)),
    ],
)
def test_errors_of_pixels(pair, pixel, error):
    clean, restored = pair
    loss = in_mode(RestorationLoss(pixel), QUICKEST)(clean, restored)
    assert float(loss) == pytest.approx(float(error(restored - clean).mean()), rel=1e-5)


def test_the_error_in_decibels_is_minus_the_psnr_of_each_image(pair):
    clean, restored = (images / 3 for images in pair)
    loss = in_mode(RestorationLoss("psnr"), QUICKEST)(clean, restored)
    psnr = [
        peak_signal_noise_ratio(*images, data_range=1)
        for images in zip(clean, restored, strict=True)
    ]
    assert float(loss) == pytest.approx(-np.mean(psnr), abs=0.01)


def test_images_that_are_equal_have_a_bounded_error_in_decibels(pair):
    assert float(RestorationLoss("psnr")(pair[0], pair[0])) == pytest.approx(-40, abs=0.01)


def test_the_edge_term_is_the_error_of_second_differences(pair):
    clean, restored = pair
    plain, with_edge = (
        in_mode(RestorationLoss(edge=weight), QUICKEST)(clean, restored) for weight in (0.0, 0.5)
    )
    second = [laplace(x, axes=(1, 2))[:, 1:-1, 1:-1] for x in (clean, restored)]
    expected = np.sqrt((second[1] - second[0]) ** 2 + 1e-6).mean()
    assert float(with_edge - plain) == pytest.approx(0.5 * expected, rel=1e-4)


def test_the_fourier_term_is_the_error_of_the_transforms(pair, mode):
    clean, restored = pair
    plain, with_fft = (
        in_mode(RestorationLoss(fft=weight), mode)(clean, restored) for weight in (0.0, 0.1)
    )
    error = np.fft.fft2(restored - clean, axes=(1, 2))
    expected = (np.abs(error.real) + np.abs(error.imag)).mean() / 2 / np.sqrt(48)
    assert float(with_fft - plain) == pytest.approx(0.1 * expected, rel=1e-3)


def test_a_loss_comes_back_from_its_config(pair):
    loss = RestorationLoss("charbonnier", edge=0.05, fft=0.01)
    same = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(same(*pair)) == pytest.approx(float(loss(*pair)))


def test_an_unknown_error_is_refused():
    with pytest.raises(ValueError, match="charbonnier"):
        RestorationLoss("l2")
