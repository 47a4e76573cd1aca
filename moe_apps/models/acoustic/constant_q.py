"""The constant-Q transform of whole waveforms, by one Fourier transform."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from moe_apps.models.acoustic.spectrogram import decibels

RELATIVE_FLOOR = 2e-3
"""Parts of a kernel's spectrum below this share of its peak are left out."""


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class ConstantQ(keras.layers.Layer):
    """Constant-Q spectrogram in decibels: bins at equal ratios, each with a window of Q periods.

    Bin k, at `f_k = f_min 2^(k / bins_per_octave)`, is the correlation of the waveform with
    `w(n) exp(2 pi i f_k n / rate)`, w a Hann window of `Q rate / f_k` samples with sum 1, times
    the root of its length: librosa's `cqt` with its defaults. All bins and times come from one
    Fourier transform of the waveform: each kernel is narrow in frequency, so the spectrum is
    multiplied by it and folded to as many points as there are frames, whose inverse transform is
    the bin at the frames' times. Before its start the waveform is its own end (circular).

    Source: Brown 1991, "Calculation of a constant Q spectral transform", JASA 89; Velasco et al.
    2011, "Constructing an invertible constant-Q transform with non-stationary Gabor frames",
    DAFx, for the way by one transform.

    Args:
        sample_rate: Hz. Default 16000.
        hop: samples from frame to frame. Default 400.
        bins_per_octave: Default 24.
        f_min: Hz, the lowest bin. Default 20.
        f_max: Hz; None is half the sample rate. Bins stop below it.
        time_pool: frames whose power is averaged into one. Default 1.

    Call arguments:
        waveform: `(batch, samples)`, the number of samples known; it must hold the longest window.

    Returns:
        `(batch, samples // hop // time_pool, bins)` float32.

    Example:
        >>> tuple(ConstantQ(f_min=100.0)(ops.zeros((2, 16000))).shape)
        (2, 40, 151)
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        hop: int = 400,
        bins_per_octave: int = 24,
        f_min: float = 20.0,
        f_max: float | None = None,
        time_pool: int = 1,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        top = sample_rate / 2 if f_max is None else f_max
        ratio = 2.0 ** (2 / bins_per_octave)
        self.q = (ratio + 1) / (ratio - 1)
        # The upper half of the highest bin's band must lie below half the sample rate too.
        highest = min(top, sample_rate / 2 / (1 + 1 / self.q))
        if not 0 < f_min < highest:
            raise ValueError(f"`f_min` must be above 0 and below {highest:g} Hz. Received: {f_min}")
        count = int(np.floor(bins_per_octave * np.log2(highest / f_min))) + 1
        self.sample_rate, self.hop, self.time_pool = sample_rate, hop, time_pool
        self.bins_per_octave, self.f_min, self.f_max = bins_per_octave, f_min, f_max
        self.frequencies = f_min * 2.0 ** (np.arange(count) / bins_per_octave)

    def build(self, input_shape: Any) -> None:
        self.frames = input_shape[-1] // self.hop
        self.samples = self.frames * self.hop
        longest = self.q * self.sample_rate / self.f_min
        if longest > self.samples or self.frames < self.time_pool:
            raise ValueError(
                f"the window of the lowest bin, {self.f_min:g} Hz, is "
                f"{longest / self.sample_rate:.2f} s long, the waveform "
                f"{self.samples / self.sample_rate:.2f} s: raise `f_min`, or lower "
                "`bins_per_octave`"
            )
        self.kernel_bins, self.kernel, self.places = self._kernels()
        self.built = True

    def _kernels(
        self,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.complex64], npt.NDArray[np.int32]]:
        """Bins of the spectrum, factors, and where each product is added."""
        bins, factors, places = [], [], []
        for number, frequency in enumerate(self.frequencies):
            length = self.q * self.sample_rate / frequency
            times = np.arange(-int(length // 2), int(length // 2))
            window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(times)) / len(times))
            wave = window * np.exp(2j * np.pi * frequency * times / self.sample_rate)
            kernel = np.zeros(self.samples, complex)
            kernel[times] = wave * (np.sqrt(length) / window.sum())
            spectrum = np.fft.fft(kernel)[: self.samples // 2 + 1]
            found = np.flatnonzero(abs(spectrum) > RELATIVE_FLOOR * abs(spectrum).max())
            bins.append(found)
            factors.append(np.conj(spectrum[found]))
            places.append(number * self.frames + found % self.frames)
        return (
            np.concatenate(bins).astype(np.int32),
            np.concatenate(factors).astype(np.complex64),
            np.concatenate(places).astype(np.int32),
        )

    def call(self, waveform: Any) -> Any:
        real, imaginary = ops.rfft(waveform[:, : self.samples])
        real = ops.take(real, self.kernel_bins, axis=1)
        imaginary = ops.take(imaginary, self.kernel_bins, axis=1)
        factor_real, factor_imaginary = self.kernel.real, self.kernel.imag
        real, imaginary = (
            self._folded(real * factor_real - imaginary * factor_imaginary),
            self._folded(real * factor_imaginary + imaginary * factor_real),
        )
        # Conjugated before and after, the forward transform is the inverse one; power does not
        # see the conjugation after it.
        real, imaginary = ops.fft((real, -imaginary))  # (batch, bins, frames)
        power = (ops.square(real) + ops.square(imaginary)) / float(self.samples) ** 2
        power = ops.transpose(power, (0, 2, 1))
        if self.time_pool > 1:
            frames = self.frames // self.time_pool * self.time_pool
            shape = (-1, frames // self.time_pool, self.time_pool, power.shape[2])
            power = ops.mean(ops.reshape(power[:, :frames], shape), axis=2)
        return decibels(power)

    def _folded(self, products: Any) -> Any:
        """Products of all kernels, added up to `(batch, bins, frames)`."""
        count = len(self.frequencies) * self.frames
        summed = ops.segment_sum(ops.transpose(products), self.places, count)
        shape = (-1, len(self.frequencies), self.frames)
        return ops.reshape(ops.transpose(summed), shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {
            **config,
            "sample_rate": self.sample_rate,
            "hop": self.hop,
            "bins_per_octave": self.bins_per_octave,
            "f_min": self.f_min,
            "f_max": self.f_max,
            "time_pool": self.time_pool,
        }
