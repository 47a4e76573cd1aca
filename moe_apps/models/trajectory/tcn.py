"""Temporal convolutional network."""

from __future__ import annotations

from typing import Any

import keras

from moe_apps.layers.addons import WeightNormalization


def receptive_field(levels: int, kernel_size: int) -> int:
    """Steps that the last output of a `TCN` depends on: `1 + 2 (k - 1) (2^levels - 1)`.

    >>> receptive_field(levels=3, kernel_size=3)
    29
    """
    return 1 + 2 * (kernel_size - 1) * (2**levels - 1)


def levels_for(steps: int, kernel_size: int) -> int:
    """Fewest levels whose receptive field covers `steps`.

    >>> levels_for(steps=30, kernel_size=3)
    4
    """
    if kernel_size < 2:
        raise ValueError(f"`kernel_size` must be at least 2. Received: {kernel_size}")
    levels = 1
    while receptive_field(levels, kernel_size) < steps:
        levels += 1
    return levels


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TemporalBlock(keras.layers.Layer):
    """Two causal dilated convolutions beside a shortcut.

    `F(x) + x`, where F is twice convolution, weight normalisation, ReLU, dropout; the shortcut is
    a 1x1 convolution where widths differ.

    Source: Bai, Kolter & Koltun 2018, "An Empirical Evaluation of Generic Convolutional and
    Recurrent Networks for Sequence Modeling", arXiv 1803.01271. Their ReLU after the sum is left
    out, so that a linear way leads through all blocks (He et al. 2016, arXiv 1603.05027): on
    simulated traffic the validation error was lower.

    Args:
        channels: output width.
        kernel_size: taps of each convolution. Default 3.
        dilation: steps between taps. Default 1.
        dropout: Default 0.1.
        seed: of the dropout.

    Call arguments:
        x: `(batch, time, features)`.

    Example:
        >>> tuple(TemporalBlock(8)(keras.random.normal((2, 5, 3))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        dilation: int = 1,
        dropout: float = 0.1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.kernel_size, self.dilation = channels, kernel_size, dilation
        self.dropout, self.seed = dropout, seed
        self.convolutions = [
            WeightNormalization(
                keras.layers.Conv1D(
                    channels,
                    kernel_size,
                    padding="causal",
                    dilation_rate=dilation,
                    activation="relu",
                    kernel_initializer="he_normal",
                    dtype=self.dtype_policy,
                ),
                data_init=False,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            for number in range(2)
        ]
        self.dropouts = [
            keras.layers.Dropout(
                dropout, seed=None if seed is None else seed + number, dtype=self.dtype_policy
            )
            for number in range(2)
        ]
        self.shortcut: keras.layers.Layer | None = None

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] != self.channels:
            self.shortcut = keras.layers.Conv1D(
                self.channels, 1, dtype=self.dtype_policy, name="shortcut"
            )
            self.shortcut.build(input_shape)
        shape = tuple(input_shape)
        for convolution in self.convolutions:
            convolution.build(shape)
            shape = (*shape[:-1], self.channels)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        y = x
        for convolution, dropout in zip(self.convolutions, self.dropouts, strict=True):
            y = dropout(convolution(y), training=training)
        return y + (x if self.shortcut is None else self.shortcut(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "dilation": self.dilation,
            "dropout": self.dropout,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TCN(keras.layers.Layer):
    """Temporal blocks with dilation 1, 2, 4, ...: output t depends on inputs up to t alone.

    Source: Bai, Kolter & Koltun 2018, arXiv 1803.01271.

    With `last_only`, the answer is that of the last step alone, and only what it depends on is
    computed: before a block of dilation 2^l, of every 2^l steps the last one stays, among which
    the block's taps are neighbours. The weights and the answer are the same.

    Args:
        channels: width.
        levels: number of blocks.
        kernel_size: taps of each convolution. Default 3.
        dropout: Default 0.1.
        seed: of the dropout.
        last_only: see above. Default False.

    Call arguments:
        x: `(batch, time, features)`, with `time` known.

    Returns:
        `(batch, time, channels)`, or with `last_only` `(batch, 1, channels)`.

    Raises:
        ValueError: The receptive field is shorter than the sequence: old steps would be lost.

    Example:
        >>> tuple(TCN(8, levels=2)(keras.random.normal((2, 12, 3))).shape)
        (2, 12, 8)
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        kernel_size: int = 3,
        dropout: float = 0.1,
        seed: int | None = None,
        last_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels, self.levels, self.kernel_size = channels, levels, kernel_size
        self.dropout, self.seed, self.last_only = dropout, seed, last_only
        self.blocks = [
            TemporalBlock(
                channels,
                kernel_size,
                1 if last_only else 2**level,
                dropout,
                seed=None if seed is None else seed + 2 * level,
                dtype=self.dtype_policy,
                name=f"block_{level}",
            )
            for level in range(levels)
        ]

    def build(self, input_shape: Any) -> None:
        steps, field = input_shape[1], receptive_field(self.levels, self.kernel_size)
        if steps is not None and field < steps:
            raise ValueError(
                f"`levels` {self.levels} and `kernel_size` {self.kernel_size} look {field} steps "
                f"back, the history has {steps}; levels must be at least "
                f"{levels_for(steps, self.kernel_size)}"
            )
        shape = tuple(input_shape)
        for block in self.blocks:
            block.build(shape)
            shape = (*shape[:-1], self.channels)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        for level, block in enumerate(self.blocks):
            if self.last_only and level:
                x = x[:, (x.shape[1] - 1) % 2 :: 2]  # every second step, the last one among them
            x = block(x, training=training)
        return x[:, -1:] if self.last_only else x

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], 1 if self.last_only else input_shape[1], self.channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "last_only": self.last_only,
            "channels": self.channels,
            "levels": self.levels,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
            "seed": self.seed,
        }
