"""The block that a DRSformer repeats."""

from __future__ import annotations

from typing import Any

import keras

from moe_apps.models.deraining.mixed_scale_ffn import MixedScaleFeedForward
from moe_apps.models.deraining.sparse_channel_attention import SparseChannelAttention


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class SparseTransformerBlock(keras.layers.Layer):
    """`x <- x + attention(norm(x))`, then `x <- x + feed_forward(norm(x))`.

    The normalisations are over the channels of each pixel.

    Source: Chen et al. 2023, DRSformer, CVPR, arXiv 2303.11950.

    Args:
        num_heads: of `SparseChannelAttention`.
        expansion, cross_scale, multiple: of `MixedScaleFeedForward`.

    Input and output: `(batch, height, width, channels)`.

    Example:
        >>> block = SparseTransformerBlock(num_heads=1)
        >>> block.build((None, None, None, 48))
        >>> block.count_params()
        52365
    """

    def __init__(
        self,
        num_heads: int,
        expansion: float = 2.66,
        cross_scale: bool = False,
        multiple: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.expansion = expansion
        self.cross_scale = cross_scale
        self.multiple = multiple
        policy = {"dtype": self.dtype_policy}
        self.attention = SparseChannelAttention(num_heads, name="attention", **policy)
        self.feed_forward = MixedScaleFeedForward(
            expansion, cross_scale, multiple, name="feed_forward", **policy
        )
        self.attention_norm, self.feed_forward_norm = (
            keras.layers.LayerNormalization(epsilon=1e-5, name=name, **policy)
            for name in ("attention_norm", "feed_forward_norm")
        )

    def build(self, input_shape: Any) -> None:
        for layer in (
            self.attention_norm,
            self.attention,
            self.feed_forward_norm,
            self.feed_forward,
        ):
            layer.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "expansion": self.expansion,
            "cross_scale": self.cross_scale,
            "multiple": self.multiple,
        }
