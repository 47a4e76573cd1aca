"""A small network for one spectrum of a segment, such as that of DEMON."""

from __future__ import annotations

from typing import Any

from keras import layers

from moe_apps.models.acoustic.kernel_features import KernelFeatures

SPECTRUM_ENCODERS = ("convolution", "kernel")


def spectrum_encoder(
    spectrum: Any,
    kind: str = "convolution",
    channels: int = 16,
    units: int = 64,
    dropout: float = 0.3,
    dtype: Any = None,
) -> Any:
    """Vectors `(batch, units)` of spectra.

    `convolution`: finds peaks whatever their frequency; a dense layer, which knows where they
    are, reads their maxima over neighbouring bins. `kernel`: likeness to examples, with nothing
    to learn, for a few hundred spectra (see `KernelFeatures`, which has to be adapted).

    Args:
        spectrum: symbolic tensor `(batch, bins)`, or `(batch, bins, kinds)`.
        kind: see above.
        channels: of the convolution.
        units: of the answer.
        dropout: share of inputs of the dense layer that are left out in training.
        dtype: policy of the layers.

    Example:
        >>> import keras
        >>> tuple(spectrum_encoder(keras.Input((250,))).shape)
        (None, 64)
    """
    if kind == "kernel":
        x = layers.Flatten(dtype="float32", name="demon_flat")(spectrum)
        return KernelFeatures(units, dtype="float32", name="demon_embedding")(x)
    kinds = spectrum.shape[2] if len(spectrum.shape) == 3 else 1
    shape = (spectrum.shape[1], kinds)
    x = layers.Reshape(shape, dtype=dtype, name="demon_column")(spectrum)
    x = layers.Conv1D(channels, 5, padding="same", use_bias=False, dtype=dtype, name="demon_conv")(
        x
    )
    x = layers.BatchNormalization(momentum=0.9, dtype=dtype, name="demon_norm")(x)
    x = layers.ReLU(dtype=dtype, name="demon_relu")(x)
    x = layers.MaxPooling1D(2, dtype=dtype, name="demon_pool")(x)
    x = layers.Flatten(dtype=dtype, name="demon_flat")(x)
    x = layers.Dropout(dropout, dtype=dtype, name="demon_dropout")(x)
    x = layers.Dense(units, use_bias=False, dtype=dtype, name="demon_dense")(x)
    x = layers.BatchNormalization(momentum=0.9, dtype=dtype, name="demon_dense_norm")(x)
    return layers.ReLU(dtype=dtype, name="demon_embedding")(x)
