"""The parts of MoHETS: patches, attention in groups, the decoder of patches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def rotate_pairs(x: Any, theta: float = 10000.0) -> Any:
    """Rotary position embedding in the complex form: dimension 2j pairs with 2j + 1.

    Source: Su et al. 2021, "RoFormer", arXiv 2104.09864.

    Args:
        x: `(batch, time, heads, head_dim)`, `head_dim` even; position i is index i on `time`.
        theta: base of the frequencies `theta^(-2 j / d)`.

    Example:
        >>> float(rotate_pairs(ops.ones((1, 1, 1, 2)))[0, 0, 0, 1])  # position 0 is not turned
        1.0
    """
    time, heads, width = x.shape[1:]
    frequencies = theta ** (-ops.arange(width // 2, dtype="float32") / (width // 2))
    angles = ops.arange(time, dtype="float32")[:, None] * frequencies[None]  # (time, width / 2)
    cos = ops.cast(ops.cos(angles), x.dtype)[:, None]
    sin = ops.cast(ops.sin(angles), x.dtype)[:, None]
    pairs = ops.reshape(x, (-1, time, heads, width // 2, 2))
    real, imaginary = pairs[..., 0], pairs[..., 1]
    turned = ops.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], axis=-1)
    return ops.reshape(turned, (-1, time, heads, width))


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class GroupedQueryAttention(keras.layers.Layer):
    """Attention in which several query heads share a key and value head, with rotary positions.

    Biases on query, key and value only; every position sees every other.

    Sources: Ainslie et al. 2023, "GQA", arXiv 2305.13245; Ortigossa et al. 2026, "MoHETS",
    arXiv 2601.21866.

    Args:
        num_heads: query heads; must divide the features, with an even head width.
        num_key_heads: key and value heads; must divide `num_heads`.
        dropout: rate on the attention weights.

    Call arguments:
        x: `(batch, time, features)`, the queries.
        context: `(batch, time, features)`, keys and values; None: x itself.

    Example:
        >>> layer = GroupedQueryAttention(num_heads=4, num_key_heads=2)
        >>> tuple(layer(keras.random.normal((3, 5, 16))).shape)
        (3, 5, 16)
    """

    def __init__(
        self, num_heads: int, num_key_heads: int, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_heads % num_key_heads:
            raise ValueError(
                f"`num_key_heads` must divide `num_heads`. Received: {num_key_heads}, {num_heads}"
            )
        self.num_heads = num_heads
        self.num_key_heads = num_key_heads
        self.dropout = dropout
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, x_shape: Any, context_shape: Any = None) -> None:
        features = x_shape[-1]
        if features % (2 * self.num_heads):
            raise ValueError(
                f"{features} features cannot be split into {self.num_heads} heads of even width."
            )
        shared = features // self.num_heads * self.num_key_heads

        def projection(name: str, width: int, use_bias: bool) -> keras.layers.Dense:
            layer = keras.layers.Dense(width, use_bias=use_bias, dtype=self.dtype_policy, name=name)
            layer.build((None, None, features))
            return layer

        self.query = projection("query", features, True)
        self.key = projection("key", shared, True)
        self.value = projection("value", shared, True)
        self.output_projection = projection("output", features, False)
        self.built = True

    def call(self, x: Any, context: Any = None, training: bool | None = None) -> Any:
        context = x if context is None else context
        width = x.shape[-1] // self.num_heads

        def heads(projected: Any, count: int) -> Any:
            return ops.reshape(projected, (-1, projected.shape[1], count, width))

        query = rotate_pairs(heads(self.query(x), self.num_heads))
        key = rotate_pairs(heads(self.key(context), self.num_key_heads))
        value = heads(self.value(context), self.num_key_heads)
        times = self.num_heads // self.num_key_heads
        key, value = ops.repeat(key, times, axis=2), ops.repeat(value, times, axis=2)
        scores = ops.einsum("bqhd,bkhd->bhqk", query, key) / width**0.5
        weights = ops.cast(ops.softmax(ops.cast(scores, "float32"), axis=-1), x.dtype)
        weights = self.drop(weights, training=training)
        mixed = ops.einsum("bhqk,bkhd->bqhd", weights, value)
        return self.output_projection(ops.reshape(mixed, (-1, *x.shape[1:])))

    def compute_output_shape(self, x_shape: Any, context_shape: Any = None) -> Any:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_key_heads": self.num_key_heads,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class PatchEmbedding(keras.layers.Layer):
    """A series cut into patches, each mapped to a token; then one group normalisation.

    Input `(batch, steps)`, output `(batch, steps / patch, hidden_dim)`.

    Source: Ortigossa et al. 2026, "MoHETS", arXiv 2601.21866, released code.

    Args:
        patch: steps of a patch; divides the steps of the input.
        hidden_dim: width of a token.
        dropout: rate on the tokens.

    Example:
        >>> tuple(PatchEmbedding(patch=4, hidden_dim=8)(ops.ones((2, 12))).shape)
        (2, 3, 8)
    """

    def __init__(self, patch: int, hidden_dim: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch = patch
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.embed = keras.layers.Dense(hidden_dim, use_bias=False, dtype=self.dtype_policy)
        self.norm = group_norm(self.dtype_policy)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        tokens = input_shape[-1] // self.patch
        self.embed.build((None, tokens, self.patch))
        self.norm.build((None, tokens, self.hidden_dim))
        self.built = True

    def call(self, series: Any, training: bool | None = None) -> Any:
        patches = ops.reshape(series, (-1, series.shape[1] // self.patch, self.patch))
        return self.drop(self.norm(self.embed(patches)), training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[1] // self.patch, self.hidden_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "patch": self.patch,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class PatchDecoder(keras.layers.Layer):
    """Tokens back to a series: `(batch, tokens, features)` to `(batch, tokens * patch, width)`.

    Each token becomes `patch` steps, which a depthwise convolution joins across patches.

    Source: Ortigossa et al. 2026, "MoHETS", arXiv 2601.21866, released code.

    Args:
        patch: steps of a patch.
        width: numbers of a step; the code has 1.

    Example:
        >>> tuple(PatchDecoder(patch=4)(ops.ones((2, 3, 32))).shape)
        (2, 12, 1)
    """

    def __init__(self, patch: int, width: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch = patch
        self.width = width

    def build(self, input_shape: Any) -> None:
        tokens, features = input_shape[1:]
        steps = tokens * self.patch
        kernel = min(max(self.patch // 2 - 1, 1), 7)
        kernel -= 1 - kernel % 2  # odd
        narrow = _multiple_of_8(features / 4)
        policy = self.dtype_policy
        self.unfold = keras.layers.Dense(self.patch * features, use_bias=False, dtype=policy)
        self.unfold.build((None, tokens, features))
        self.join = keras.layers.DepthwiseConv1D(
            kernel, padding="same", use_bias=False, dtype=policy
        )
        self.join.build((None, steps, features))
        self.norm = group_norm(policy)
        self.norm.build((None, steps, features))
        self.narrow = keras.layers.Dense(narrow, "gelu", use_bias=False, dtype=policy)
        self.narrow.build((None, steps, features))
        self.last = keras.layers.Dense(self.width, use_bias=False, dtype=policy)
        self.last.build((None, steps, narrow))
        self.built = True

    def call(self, tokens: Any) -> Any:
        count, features = tokens.shape[1:]
        steps = ops.gelu(self.unfold(tokens), approximate=False)
        steps = ops.reshape(steps, (-1, count * self.patch, features))
        return self.last(self.narrow(self.norm(self.join(steps))))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[1] * self.patch, self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patch": self.patch, "width": self.width}


def group_norm(policy: Any) -> keras.layers.Layer:
    """Normalisation over tokens and features together, with a gain and shift a feature."""
    return keras.layers.GroupNormalization(groups=1, epsilon=1e-5, dtype=policy)


def _multiple_of_8(width: float) -> int:
    """The nearest multiple of 8, at least 8, that is no less than 90 % of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8
