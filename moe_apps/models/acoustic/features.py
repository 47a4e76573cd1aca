"""From raw waveforms to what the network reads, inside the graph."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.models.acoustic.constant_q import ConstantQ
from moe_apps.models.acoustic.demon import Demon
from moe_apps.models.acoustic.spectrogram import KINDS, Spectrogram

FEATURES = (*KINDS, "cqt")
SPECTROGRAM = ("sample_rate", "frame", "hop", "bands", "coefficients", "f_min", "f_max")
CONSTANT_Q = ("sample_rate", "hop", "bins_per_octave", "f_min", "f_max")


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class AcousticFeatures(keras.layers.Layer):
    """A time-frequency image and a DEMON spectrum of each segment.

    The segment's mean is taken away and its power made 1 first: the distance to a ship and the
    gain of a recorder change the level, and gains are rarely known.

    Args:
        kind: "stft", "mel", "bark", "mfcc" (see `Spectrogram`) or "cqt" (see `ConstantQ`).
        samples: of a segment.
        sample_rate: Hz.
        demon: settings of `Demon`, or None for no DEMON spectrum.
        **settings: of `Spectrogram` or `ConstantQ`.

    Call arguments:
        waveform: `(batch, samples)`, in any unit.

    Returns:
        `image` `(batch, time, features)` and, if asked for, `demon` `(batch, bins)`, float32.

    Example:
        >>> features = AcousticFeatures("mel", samples=80000, sample_rate=16000, demon={})
        >>> {name: tuple(x.shape) for name, x in features(ops.zeros((2, 80000))).items()}
        {'image': (2, 198, 64), 'demon': (2, 250)}
    """

    def __init__(
        self,
        kind: str = "mel",
        samples: int = 80000,
        sample_rate: int = 16000,
        demon: dict[str, Any] | None = None,
        frame: int = 800,
        hop: int = 400,
        bands: int = 64,
        coefficients: int = 20,
        bins_per_octave: int = 24,
        f_min: float = 20.0,
        f_max: float | None = None,
        time_pool: int = 1,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(name=name, **kwargs)
        if kind not in FEATURES:
            raise ValueError(f"`kind` must be one of {', '.join(FEATURES)}. Received: {kind!r}")
        self.kind, self.samples, self.sample_rate = kind, samples, sample_rate
        self.demon = None if demon is None else dict(demon)
        self.frame, self.hop, self.bands, self.coefficients = frame, hop, bands, coefficients
        self.bins_per_octave, self.f_min, self.f_max = bins_per_octave, f_min, f_max
        self.time_pool = time_pool
        names = CONSTANT_Q if kind == "cqt" else SPECTROGRAM
        settings = {setting: getattr(self, setting) for setting in (*names, "time_pool")}
        self.image: keras.layers.Layer = (
            ConstantQ(**settings, name="image")
            if kind == "cqt"
            else Spectrogram(kind, **settings, name="image")
        )
        self.envelope = (
            None if demon is None else Demon(sample_rate=sample_rate, **demon, name="demon")
        )
        self.build((None, samples))

    def build(self, input_shape: Any) -> None:
        for layer in (self.image, self.envelope):
            if layer is not None and not layer.built:
                layer.build((None, self.samples))
        self.built = True

    def call(self, waveform: Any) -> dict[str, Any]:
        waveform = ops.reshape(ops.cast(waveform, "float32"), (-1, self.samples))
        waveform = waveform - ops.mean(waveform, axis=-1, keepdims=True)
        power = ops.mean(ops.square(waveform), axis=-1, keepdims=True)
        # Silence stays silence; samples of full scale have a power of at most 1.
        waveform = waveform * ops.rsqrt(ops.maximum(power, 1e-14))
        found = {"image": self.image(waveform)}
        if self.envelope is not None:
            found["demon"] = self.envelope(waveform)
        return found

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output, without the batch."""
        outputs = self.compute_output_spec(keras.KerasTensor((1, self.samples), "float32"))
        return {name: tuple(tensor.shape[1:]) for name, tensor in outputs.items()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {
            **config,
            "kind": self.kind,
            "samples": self.samples,
            "sample_rate": self.sample_rate,
            "demon": self.demon,
            "frame": self.frame,
            "hop": self.hop,
            "bands": self.bands,
            "coefficients": self.coefficients,
            "bins_per_octave": self.bins_per_octave,
            "f_min": self.f_min,
            "f_max": self.f_max,
            "time_pool": self.time_pool,
        }
