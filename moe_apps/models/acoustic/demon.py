"""DEMON: which low frequencies modulate the noise of a propeller."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from moe_apps.models.acoustic.spectrogram import decibels


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class Demon(keras.layers.Layer):
    """Detection of envelope modulation on noise: the spectrum of the noise's envelope.

    The band from `low` to `high` is cut into `sub_bands` of equal width by the spectrum of the
    whole waveform. The squared magnitude of each one's analytic signal is averaged to
    `envelope_rate`, divided by its mean and less 1, so that loud sub-bands count no more than
    weak ones. The power spectrum of the Hann-windowed mean over sub-bands, in decibels relative
    to full modulation, is the answer: peaks are at the shaft's rate and its multiples, the
    strongest often at the blades' rate.

    Source: the usual DEMON chain (Nielsen 1991, "Sonar Signal Processing"; Kummert 1993), with
    sub-bands whitened one by one.

    Args:
        sample_rate: Hz. Default 16000.
        low, high: Hz, the band of the noise. Default 500 and 7500.
        sub_bands: Default 6.
        envelope_rate: Hz, of the envelope; at least twice `max_frequency`. Default 200.
        max_frequency: Hz, the highest modulation. Default 50.

    Call arguments:
        waveform: `(batch, samples)`, the number of samples known.

    Returns:
        `(batch, bins)` float32: bin i is `(i + 1) sample_rate / samples` Hz.

    Example:
        >>> tuple(Demon()(keras.random.normal((2, 80000))).shape)
        (2, 250)
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        low: float = 500.0,
        high: float = 7500.0,
        sub_bands: int = 6,
        envelope_rate: float = 200.0,
        max_frequency: float = 50.0,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if not 0 <= low < high <= sample_rate / 2:
            raise ValueError(
                f"`low` and `high` must rise, up to {sample_rate / 2:g} Hz. "
                f"Received: {low} and {high}"
            )
        if envelope_rate < 2 * max_frequency:
            raise ValueError(
                f"`envelope_rate` must be at least twice `max_frequency`, {2 * max_frequency:g}. "
                f"Received: {envelope_rate}"
            )
        if (high - low) / sub_bands < envelope_rate:
            raise ValueError(
                f"{sub_bands} `sub_bands` from {low:g} to {high:g} Hz are narrower than the "
                f"`envelope_rate`, {envelope_rate:g} Hz"
            )
        self.sample_rate, self.low, self.high = sample_rate, low, high
        self.sub_bands, self.envelope_rate = sub_bands, envelope_rate
        self.max_frequency = max_frequency

    def build(self, input_shape: Any) -> None:
        samples = input_shape[-1]
        seconds = samples / self.sample_rate
        self.points = int(self.envelope_rate * seconds)  # of the envelope
        self.bins = int(self.max_frequency * seconds + 1e-9)
        if self.bins < 1:
            raise ValueError(
                f"{seconds:g} s are too short for modulations up to {self.max_frequency:g} Hz"
            )
        width = (self.high - self.low) / self.sub_bands * seconds  # in bins of the spectrum
        self.block = int(width / self.points + 1e-9)  # points of a sub-band in one of the envelope
        self.width = self.block * self.points
        starts = np.round((self.low * seconds) + width * np.arange(self.sub_bands)).astype(int)
        self.places = np.concatenate([np.arange(self.width) + start for start in starts])
        turns = np.arange(self.points) / self.points
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)
        self.built = True

    def call(self, waveform: Any) -> Any:
        real, imaginary = ops.rfft(waveform)
        shape = (-1, self.sub_bands, self.width)
        real = ops.reshape(ops.take(real, self.places, axis=1), shape)
        imaginary = ops.reshape(ops.take(imaginary, self.places, axis=1), shape)
        # The analytic signal of each sub-band, moved to 0 Hz; conjugation turns the transform
        # into the inverse one and does not change magnitudes.
        real, imaginary = ops.fft((real, -imaginary))
        power = ops.square(real) + ops.square(imaginary)  # (batch, sub_bands, width)
        blocks = (-1, self.sub_bands, self.points, self.block)
        envelope = ops.mean(ops.reshape(power, blocks), axis=-1)
        mean = ops.mean(envelope, axis=-1, keepdims=True)
        # Of silence there is no modulation.
        modulation = envelope / ops.maximum(mean, 1e-12) - ops.cast(mean > 1e-12, "float32")
        modulation = ops.mean(modulation, axis=1) * self.window  # (batch, points)
        real, imaginary = ops.rfft(modulation)
        power = ops.square(real) + ops.square(imaginary)
        # Full modulation by one cosine has an amplitude of 1 here.
        scale = (2.0 / float(self.window.sum())) ** 2
        return decibels(power[:, 1 : self.bins + 1] * scale)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {
            **config,
            "sample_rate": self.sample_rate,
            "low": self.low,
            "high": self.high,
            "sub_bands": self.sub_bands,
            "envelope_rate": self.envelope_rate,
            "max_frequency": self.max_frequency,
        }
