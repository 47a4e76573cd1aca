"""Convolutions around a transformer over square patches: into tokens, and back to pixels."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.models.deraining.resampling import DepthToSpace


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class ResidualConvolutions(keras.layers.Layer):
    """`x + conv(relu(conv(x)))` with 3 x 3 convolutions; channels stay as they are.

    Input and output: `(batch, height, width, channels)`.
    """

    def build(self, input_shape: Any) -> None:
        self.first, self.second = (
            keras.layers.Conv2D(
                input_shape[-1],
                3,
                padding="same",
                activation=activation,
                dtype=self.dtype_policy,
                name=name,
            )
            for name, activation in (("first", "relu"), ("second", None))
        )
        self.first.build(input_shape)
        self.second.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        return x + self.second(self.first(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class TokensToPixels(keras.layers.Layer):
    """Turns each token into a square of pixels: a dense layer, then depth to space.

    Args:
        size: pixels on each side of the square.
        channels: channels of a pixel.

    Input `(batch, rows, columns, features)`, output
    `(batch, rows * size, columns * size, channels)`.
    """

    def __init__(self, size: int, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.channels = channels
        self.dense = keras.layers.Dense(size * size * channels, dtype=self.dtype_policy)
        self.pixels = DepthToSpace(size, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        self.dense.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        return self.pixels(self.dense(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, rows, columns, _ = input_shape
        return (batch, rows and rows * self.size, columns and columns * self.size, self.channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "channels": self.channels}


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class TokenAttention(keras.layers.Layer):
    """Self-attention between tokens without positions; queries, keys and values have no bias.

    Args:
        num_heads: heads.
        head_dim: width of a head.
        dropout: rate on the output, in training.

    Input and output: `(batch, tokens, features)`.
    """

    def __init__(self, num_heads: int, head_dim: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.dropout = dropout

    def build(self, input_shape: Any) -> None:
        inner = self.num_heads * self.head_dim
        policy = {"dtype": self.dtype_policy}
        self.projection = keras.layers.Dense(3 * inner, use_bias=False, name="projection", **policy)
        self.output_projection = keras.layers.Dense(
            input_shape[-1], name="output_projection", **policy
        )
        self.drop = keras.layers.Dropout(self.dropout, **policy)
        self.projection.build(input_shape)
        self.output_projection.build((*input_shape[:-1], inner))
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        batch, tokens, _ = ops.shape(x)
        parts = ops.reshape(self.projection(x), (batch, tokens, 3, self.num_heads, self.head_dim))
        mixed = ops.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
        mixed = ops.reshape(mixed, (batch, tokens, self.num_heads * self.head_dim))
        return self.drop(self.output_projection(mixed), training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "dropout": self.dropout,
        }
