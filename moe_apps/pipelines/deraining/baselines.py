"""Classical filters that a model has to beat."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def unchanged(image: Image) -> Image:
    """The input as it is."""
    return image


def median(image: Image) -> Image:
    """Median over 3 x 3 pixels of each channel."""
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(image), 3), np.uint8)


def bilateral(image: Image) -> Image:
    """Bilateral filter, 5 x 5 pixels, sigma 40 in value and 3 in place.

    Tomasi and Manduchi 1998, "Bilateral Filtering for Gray and Color Images", ICCV.
    """
    return np.asarray(cv2.bilateralFilter(np.ascontiguousarray(image), 5, 40, 3), np.uint8)


def guided(image: Image, radius: int = 2, epsilon: float = 0.01) -> Image:
    """Guided filter with the image's own luma as guide.

    He et al. 2010, "Guided Image Filtering", ECCV: in every box each channel is a linear function
    of the guide, `a guide + b`, and a pixel takes the mean over its boxes.

    Args:
        image: `[height, width, 3]` uint8.
        radius: half the side of a box.
        epsilon: how much variance counts as an edge, for values in [0, 1].
    """
    values = image.astype(np.float32) / 255
    guide = values @ np.array([0.299, 0.587, 0.114], np.float32)
    size = (2 * radius + 1,) * 2

    def mean(x: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.asarray(cv2.blur(x, size, borderType=cv2.BORDER_REFLECT))

    guide_mean = mean(guide)
    variance = mean(guide * guide) - guide_mean**2
    covariance = mean(values * guide[..., None]) - mean(values) * guide_mean[..., None]
    slope = covariance / (variance + epsilon)[..., None]
    offset = mean(values) - slope * guide_mean[..., None]
    filtered = mean(slope) * guide[..., None] + mean(offset)
    return np.asarray(np.floor(np.clip(filtered, 0, 1) * 255 + 0.5), np.uint8)


BASELINES: dict[str, Callable[[Image], Image]] = {
    "input": unchanged,
    "median": median,
    "bilateral": bilateral,
    "guided": guided,
}
"""What is judged beside every model, `input` being the degraded image itself."""
