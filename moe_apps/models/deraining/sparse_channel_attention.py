"""Attention between channels that keeps the strongest links of several lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

KEPT: tuple[tuple[int, int], ...] = ((1, 2), (2, 3), (3, 4), (4, 5))
"""Shares of the links of a channel that are kept, as fractions, which floats would round."""


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class SparseChannelAttention(keras.layers.Layer):
    """Top-k sparse attention in which channels, not pixels, attend to each other.

    With queries, keys and values from a pointwise and a 3 x 3 depthwise convolution, each channel
    of a head is a vector over all pixels: `A = tau * normed(Q) normed(K)^T`, one matrix of
    channels by channels a head. For each share in `kept`, every row keeps its k strongest entries
    and takes a softmax over them; the answer is `sum_j w_j softmax_j(A) V`, then a pointwise
    convolution. Since the product with V is linear, the matrices are mixed before it. The cost is
    linear in the number of pixels. `tau` starts at 1 a head, the `w_j` at 0.2.

    Scores, norms and softmax are float32 under every policy: sums over all pixels overflow in
    half precision.

    Source: Chen et al. 2023, "Learning A Sparse Transformer Network for Effective Image
    Deraining" (DRSformer), CVPR, arXiv 2303.11950.

    Args:
        num_heads: heads; channels must be a multiple of them.
        kept: shares of links kept, as (numerator, denominator). Default: 1/2, 2/3, 3/4, 4/5.

    Input and output: `(batch, height, width, channels)`.

    Example:
        >>> layer = SparseChannelAttention(num_heads=2)
        >>> tuple(layer(keras.random.normal((1, 8, 8, 12))).shape)
        (1, 8, 8, 12)
    """

    def __init__(
        self, num_heads: int, kept: Sequence[tuple[int, int]] = KEPT, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.kept = tuple((int(part), int(whole)) for part, whole in kept)

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        if channels % self.num_heads:
            raise ValueError(
                f"The channels must be a multiple of the {self.num_heads} heads. "
                f"Received: {channels}"
            )
        self.head_dim = channels // self.num_heads
        self.counts = [max(self.head_dim * part // whole, 1) for part, whole in self.kept]
        dense = {"use_bias": False, "dtype": self.dtype_policy}
        self.projection = keras.layers.Dense(3 * channels, name="projection", **dense)
        self.neighbours = keras.layers.DepthwiseConv2D(
            3, padding="same", name="neighbours", **dense
        )
        self.output_projection = keras.layers.Dense(channels, name="output_projection", **dense)
        self.projection.build(input_shape)
        self.neighbours.build((*input_shape[:-1], 3 * channels))
        self.output_projection.build(input_shape)
        self.temperature = self.add_weight(
            name="temperature_scale", shape=(self.num_heads,), initializer="ones", dtype="float32"
        )
        self.mixing = self.add_weight(
            name="mixing_scale",
            shape=(len(self.kept),),
            initializer=keras.initializers.Constant(0.2),
            dtype="float32",
        )
        self.built = True

    def call(self, x: Any) -> Any:
        batch, height, width, channels = ops.shape(x)
        parts = self.neighbours(self.projection(x))
        parts = ops.reshape(parts, (batch, height * width, 3, self.num_heads, self.head_dim))
        query, key = (ops.cast(parts[:, :, part], "float32") for part in (0, 1))
        links = ops.cast(self.links(query, key), x.dtype)  # (batch, heads, head_dim, head_dim)
        mixed = ops.einsum("bhcd,bnhd->bnhc", links, parts[:, :, 2])
        return self.output_projection(ops.reshape(mixed, (batch, height, width, channels)))

    def links(self, query: Any, key: Any) -> Any:
        """The mixed sparse matrices `(batch, heads, head_dim, head_dim)`, float32.

        Args:
            query, key: `(batch, pixels, heads, head_dim)` float32.
        """
        scores = ops.einsum("bnhc,bnhd->bhcd", query, key)
        scores = scores / (_norm(query)[..., :, None] * _norm(key)[..., None, :])
        scores = scores * ops.cast(self.temperature, "float32")[:, None, None]
        strongest = ops.stop_gradient(ops.top_k(scores, max(self.counts))[0])  # descending
        mixing = ops.cast(self.mixing, "float32")
        total: Any = 0.0
        for number, count in enumerate(self.counts):
            kept = scores >= strongest[..., count - 1 : count]
            total = total + mixing[number] * ops.softmax(ops.where(kept, scores, -1e9), axis=-1)
        return total

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "kept": self.kept}


def _norm(x: Any) -> Any:
    """Length of each channel over all pixels, `(batch, heads, head_dim)`, at least 1e-12."""
    # The root of 0 has no finite gradient, so the square is bounded, not the root.
    return ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=1), 1e-24))
