"""Peak signal-to-noise ratio and structural similarity under the protocols of the literature.

Published numbers differ by protocol: the same images score 0.02 to 0.04 apart in SSIM between A
and B, and 1.4 dB apart in PSNR between A and C. A result is compared with others of its protocol
only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
ProtocolName = Literal["A", "B", "C"]

WINDOW = 11
"""Side of the Gaussian window of SSIM; smaller images have no SSIM."""
LUMA = np.array([65.481, 128.553, 24.966]) / 255
"""Weights of red, green and blue in the Y of ITU-R BT.601 that MATLAB's rgb2ycbcr gives."""


@dataclass(frozen=True)
class Protocol:
    """How a result is compared with the truth; both are 8-bit images.

    Attributes:
        name: Letter.
        description: What it is, for people.
        planes: Image to what is compared, in 0 to 255.
        downsampled: Shrink large images before SSIM, as the script of 2009 does.
    """

    name: ProtocolName
    description: str
    planes: Callable[[Image], FloatArray]
    downsampled: bool = False


def luma(image: Image) -> FloatArray:
    """Y in 16 to 235 of RGB in 0 to 255, not rounded.

    Example:
        >>> luma(np.full((1, 1, 3), 255, np.uint8)).round(3).tolist()
        [[235.0]]
    """
    return 16 + image.astype(np.float64) @ LUMA


def rounded_luma(image: Image) -> FloatArray:
    """Y as MATLAB's rgb2ycbcr gives it for 8-bit images: rounded."""
    return np.floor(luma(image) + 0.5)  # MATLAB rounds halves up, NumPy to even


def _all_channels(image: Image) -> FloatArray:
    return image.astype(np.float64)


PROTOCOLS: dict[str, Protocol] = {
    "A": Protocol(
        "A",
        "Y channel, rounded to 8 bits, peak 255, no border cut; SSIM 11 x 11 Gaussian, sigma 1.5 "
        "(Rain200L/H, SPA-Data, Rain13K)",
        rounded_luma,
    ),
    "B": Protocol(
        "B",
        "Y channel, not rounded; SSIM after shrinking by round(shorter side / 256) (DID-Data, "
        "DDN-Data)",
        luma,
        downsampled=True,
    ),
    "C": Protocol("C", "all three channels of RGB (All-Weather, PromptIR)", _all_channels),
}


def psnr(result: Image, truth: Image, protocol: str = "A") -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images.

    Args:
        result, truth: `[height, width, 3]` uint8.
        protocol: name of one of `PROTOCOLS`.

    Example:
        >>> truth = np.full((16, 16, 3), 100, np.uint8)
        >>> round(psnr(truth + 10, truth, "C"), 2)
        28.13
    """
    planes = PROTOCOLS[protocol].planes
    error = float(np.mean(np.square(planes(result) - planes(truth))))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(result: Image, truth: Image, protocol: str = "A") -> float:
    """Structural similarity; NaN where an image is smaller than its window.

    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity":
    Gaussian window of 11 x 11 and sigma 1.5, constants 0.01 and 0.03, pixels whose window lies
    inside the image.

    Args:
        result, truth: `[height, width, 3]` uint8.
        protocol: name of one of `PROTOCOLS`.

    Example:
        >>> truth = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
        >>> ssim(truth, truth)
        1.0
    """
    chosen = PROTOCOLS[protocol]
    one, two = chosen.planes(result), chosen.planes(truth)
    if chosen.downsampled:
        one, two = _shrunk(one), _shrunk(two)
    if min(one.shape[:2]) < WINDOW:
        return math.nan
    return float(
        structural_similarity(
            one,
            two,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1 if one.ndim == 3 else None,
        )
    )


def score(result: Image, truth: Image, protocol: str = "A") -> dict[str, float]:
    """`psnr` and `ssim` of one image.

    Example:
        >>> truth = np.zeros((16, 16, 3), np.uint8)
        >>> sorted(score(truth, truth))
        ['psnr', 'ssim']
    """
    return {"psnr": psnr(result, truth, protocol), "ssim": ssim(result, truth, protocol)}


def to_8_bit(image: npt.NDArray[Any]) -> Image:
    """An image in [0, 1] as it is stored: clipped, and rounded to 8 bits.

    Example:
        >>> to_8_bit(np.array([-0.1, 0.5, 1.2])).tolist()
        [0, 128, 255]
    """
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _shrunk(plane: FloatArray) -> FloatArray:
    """Means over f x f boxes at every f-th pixel, with f = round(shorter side / 256)."""
    factor = max(1, math.floor(min(plane.shape[:2]) / 256 + 0.5))
    if factor == 1:
        return plane
    # MATLAB puts the centre of an even box before its middle, SciPy behind it.
    box = uniform_filter(plane, factor, mode="reflect", origin=-1 if factor % 2 == 0 else 0)
    return box[::factor, ::factor]
