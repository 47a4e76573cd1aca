"""Spectrograms of raw waveforms: STFT, mel, Bark, MFCC."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from moe_apps.models.acoustic.filterbanks import (
    bark_filterbank,
    cosine_transform,
    mel_filterbank,
)

FLOOR = 1e-10
"""Power below which everything is silence; the waveform has a power of 1."""

KINDS = ("stft", "mel", "bark", "mfcc")


def decibels(power: Any) -> Any:
    """`10 log10(power)`, not below -100."""
    return ops.log10(ops.maximum(power, FLOOR)) * 10.0


def fft_length_for(frame: int) -> int:
    """The power of 2 that a frame fits into.

    >>> fft_length_for(800)
    1024
    """
    return 1 << max(frame - 1, 1).bit_length()


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class Spectrogram(keras.layers.Layer):
    """Time-frequency images in decibels, with Hann windows and frames inside the signal only.

    `stft`: power of each bin from `f_min` to `f_max`. `mel`: Slaney's mel filters. `bark`:
    triangular filters at equal distances on the Bark scale. `mfcc`: the first `coefficients` of
    the cosine transform of the mel spectrum in decibels. All numbers are those of librosa with
    `center=False` (tests compare them), computed in float32 in the graph.

    Args:
        kind: see above. Default "mel".
        sample_rate: Hz. Default 16000.
        frame: samples of a frame. Default 800 (50 ms).
        hop: samples from frame to frame. Default 400.
        bands: filters of mel, bark and mfcc. Default 64.
        coefficients: of mfcc. Default 20.
        f_min, f_max: Hz; `f_max` None is half the sample rate.
        time_pool: frames whose power is averaged into one. Default 1.

    Call arguments:
        waveform: `(batch, samples)`, the number of samples known.

    Returns:
        `(batch, frames // time_pool, features)` float32.

    Example:
        >>> tuple(Spectrogram(bands=32)(ops.zeros((2, 16000))).shape)
        (2, 38, 32)
    """

    def __init__(
        self,
        kind: str = "mel",
        sample_rate: int = 16000,
        frame: int = 800,
        hop: int = 400,
        bands: int = 64,
        coefficients: int = 20,
        f_min: float = 0.0,
        f_max: float | None = None,
        time_pool: int = 1,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: {kind!r}")
        highest = sample_rate / 2
        top = highest if f_max is None else f_max
        if not 0 <= f_min < top <= highest:
            raise ValueError(
                f"frequencies must rise from `f_min` to `f_max`, at most {highest:g} Hz. "
                f"Received: {f_min} and {top}"
            )
        if kind == "mfcc" and coefficients > bands:
            raise ValueError(f"`coefficients` is {coefficients}, but there are {bands} `bands`.")
        self.kind, self.sample_rate, self.frame, self.hop = kind, sample_rate, frame, hop
        self.bands, self.coefficients, self.time_pool = bands, coefficients, time_pool
        self.f_min, self.f_max = f_min, f_max
        self.fft_length = fft_length_for(frame)
        bank = {"mel": mel_filterbank, "mfcc": mel_filterbank, "bark": bark_filterbank}.get(kind)
        self.bank = bank(sample_rate, self.fft_length, bands, f_min, top) if bank else None
        spacing = sample_rate / self.fft_length
        self.first_bin, self.last_bin = round(f_min / spacing), round(top / spacing)

    @property
    def frequencies(self) -> npt.NDArray[np.floating] | None:
        """Hz in the middle of each feature; None for mfcc, whose features have none."""
        if self.kind == "mfcc":
            return None
        hz = np.arange(self.fft_length // 2 + 1) * (self.sample_rate / self.fft_length)
        if self.bank is None:
            return hz[self.first_bin : self.last_bin + 1]
        return hz @ (self.bank / self.bank.sum(axis=0))

    def build(self, input_shape: Any) -> None:
        frames = 1 + (input_shape[-1] - self.fft_length) // self.hop
        if frames < self.time_pool:
            raise ValueError(
                f"{input_shape[-1]} samples are too few for {self.time_pool} frame(s) of "
                f"{self.fft_length} samples"
            )
        self.built = True

    def call(self, waveform: Any) -> Any:
        power = self._power(waveform)  # (batch, frames, bins)
        if self.time_pool > 1:
            frames = power.shape[1] // self.time_pool * self.time_pool
            shape = (-1, frames // self.time_pool, self.time_pool, power.shape[2])
            power = ops.mean(ops.reshape(power[:, :frames], shape), axis=2)
        if self.bank is None:
            return decibels(power[..., self.first_bin : self.last_bin + 1])
        spectrum = decibels(ops.matmul(power, self.bank))
        if self.kind == "mfcc":
            spectrum = ops.matmul(spectrum, cosine_transform(self.bands, self.coefficients))
        return spectrum

    def _power(self, waveform: Any) -> Any:
        real, imaginary = ops.stft(
            waveform, self.frame, self.hop, self.fft_length, window="hann", center=False
        )
        return ops.square(real) + ops.square(imaginary)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {
            **config,
            "kind": self.kind,
            "sample_rate": self.sample_rate,
            "frame": self.frame,
            "hop": self.hop,
            "bands": self.bands,
            "coefficients": self.coefficients,
            "f_min": self.f_min,
            "f_max": self.f_max,
            "time_pool": self.time_pool,
        }
