"""Training losses of image restoration."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

Pixel = Literal["psnr", "l1", "charbonnier", "smooth_l1"]
CHARBONNIER = 1e-3
NEARLY_EQUAL = 1e-4
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class RestorationLoss(keras.losses.Loss):
    """Error of pixels, with two further terms on request.

    With `d = restored - clean`: `pixel` is the mean of `|d|` ("l1"), of `sqrt(d^2 + 1e-6)`
    ("charbonnier"), or of `d^2 / 2` where `|d| < 1` and `|d| - 1/2` elsewhere ("smooth_l1"); or
    `10 log10(mean(d^2) + 1e-4)` of each image ("psnr"), which is minus its PSNR in dB up to about
    40 dB. Where rain covers few pixels, leaving the image as it is is nearly the least of the
    mean of `|d|`, and "l1" needs many steps to leave that; "psnr" does not start so flat.
    `edge` weighs the Charbonnier error of the images' Laplacians, `fft` the mean absolute error
    of real and imaginary parts of their discrete Fourier transforms, divided by the root of the
    number of pixels.

    Sources: DRSformer (Chen et al. 2023) trains on L1, MoFME (Zhang et al. 2023) on smooth L1;
    PSNR: Chen et al. 2021, "HINet: Half Instance Normalization Network for Image Restoration",
    arXiv 2105.06086 (the bound of 40 dB is ours);
    edge: Jiang et al. 2020, "Multi-Scale Progressive Fusion Network", arXiv 2003.10985;
    Fourier: Cho et al. 2021, "Rethinking Coarse-to-Fine Approach in Single Image Deblurring",
    arXiv 2108.05054. The one-scale Laplacian and the scale of `fft` are ours.

    Args:
        pixel: see above. Default "l1".
        edge: factor of the edge term. Default 0.
        fft: factor of the Fourier term. Default 0.

    Call arguments: clean and restored images, `(batch, height, width, channels)`.

    Example:
        >>> loss = RestorationLoss()
        >>> round(float(loss(ops.zeros((1, 8, 8, 3)), ops.full((1, 8, 8, 3), 0.5))), 3)
        0.5
    """

    def __init__(
        self,
        pixel: Pixel = "l1",
        edge: float = 0.0,
        fft: float = 0.0,
        name: str = "restoration",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype="float32", **kwargs)
        if pixel not in get_args(Pixel):
            raise ValueError(f"`pixel` must be one of {get_args(Pixel)}. Received: {pixel!r}")
        self.pixel = pixel
        self.edge = edge
        self.fft = fft

    def call(self, y_true: Any, y_pred: Any) -> Any:
        error = y_pred - y_true
        total = self._of_pixels(error)  # (batch,)
        if self.edge:
            total = total + self.edge * _mean(_charbonnier(_laplacian(error)))
        if self.fft:
            planes = ops.transpose(error, (0, 3, 1, 2))
            real, imaginary = ops.fft2((planes, ops.zeros_like(planes)))
            size = ops.cast(ops.shape(error)[1] * ops.shape(error)[2], "float32")
            both = _mean(ops.abs(real) + ops.abs(imaginary)) / 2
            total = total + self.fft * both / ops.sqrt(size)
        return total

    def _of_pixels(self, error: Any) -> Any:
        if self.pixel == "psnr":
            return 10.0 * ops.log10(_mean(ops.square(error)) + NEARLY_EQUAL)
        if self.pixel == "charbonnier":
            return _mean(_charbonnier(error))
        size = ops.abs(error)
        if self.pixel == "l1":
            return _mean(size)
        bounded = ops.minimum(size, 1.0)
        return _mean(bounded * (size - 0.5 * bounded))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pixel": self.pixel, "edge": self.edge, "fft": self.fft}


def _mean(values: Any) -> Any:
    """Mean over each image, `(batch,)`."""
    return ops.mean(values, axis=(1, 2, 3))


def _charbonnier(error: Any) -> Any:
    return ops.sqrt(ops.square(error) + CHARBONNIER**2)


def _laplacian(image: Any) -> Any:
    """Second differences inside the image; being linear, the error's are those of both images."""
    channels = image.shape[-1]
    kernel = np.repeat(np.array(LAPLACIAN, "float32")[:, :, None, None], channels, axis=2)
    return ops.depthwise_conv(image, ops.convert_to_tensor(kernel), padding="valid")
