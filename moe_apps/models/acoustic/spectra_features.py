"""Spectra computed elsewhere, made comparable."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LEAST = 1e-3
"""Of a spectrum's mean: what is below counts as nothing."""


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class SpectraFeatures(keras.layers.Layer):
    """Logarithms of spectra, each with mean 0 and deviation 1 over its bins.

    Recordings differ in level and in the depth of modulation that was resolved; what is left is
    where the peaks are.

    Args:
        lengths: bins of each kind of spectrum; beyond them, inputs are filled and not read.

    Call arguments:
        spectra: `(batch, bins, kinds)`, not below 0.

    Returns:
        `demon` `(batch, bins, kinds)` float32.

    Example:
        >>> features = SpectraFeatures(lengths=(4, 3))
        >>> tuple(features(ops.ones((2, 4, 2)))["demon"].shape)
        (2, 4, 2)
    """

    def __init__(self, lengths: tuple[int, ...], **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.lengths = tuple(lengths)

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, spectra: Any) -> dict[str, Any]:
        bins, kinds = max(self.lengths), len(self.lengths)
        spectra = ops.reshape(ops.cast(spectra, "float32"), (-1, bins, kinds))
        found = []
        for number, length in enumerate(self.lengths):
            values = spectra[:, :length, number]
            mean = ops.mean(values, axis=-1, keepdims=True)
            values = ops.log(values / ops.maximum(mean, 1e-30) + LEAST)
            values = values - ops.mean(values, axis=-1, keepdims=True)
            spread = ops.sqrt(ops.mean(ops.square(values), axis=-1, keepdims=True))
            values = values / ops.maximum(spread, 1e-6)
            found.append(ops.pad(values, ((0, 0), (0, bins - length))))
        return {"demon": ops.stack(found, axis=-1)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output, without the batch."""
        return {"demon": (max(self.lengths), len(self.lengths))}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {**config, "lengths": self.lengths}
