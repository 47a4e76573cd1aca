"""Attention over the positions of an image."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class AttentionPooling(keras.layers.Layer):
    """One vector for an image: `r = sum_p a_p h_p`, `a = softmax_p(w . tanh(W h_p + b))`.

    Interpretation: the figure of Xie et al. 2024 (CMoE, arXiv 2402.11919) says attention
    pooling, the released code averages; this is the plain additive attention of Ilse et al. 2018,
    arXiv 1802.04712.

    Args:
        units: width of the hidden layer. Default 64.

    Call arguments:
        x: `(batch, *positions, features)`.

    Returns:
        `(batch, features)`.

    Example:
        >>> tuple(AttentionPooling(8)(keras.random.normal((2, 5, 4, 16))).shape)
        (2, 16)
    """

    def __init__(self, units: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, "tanh", dtype=self.dtype_policy, name="hidden")
        self.score = keras.layers.Dense(
            1, use_bias=False, kernel_initializer="zeros", dtype=self.dtype_policy, name="score"
        )

    def build(self, input_shape: Any) -> None:
        self.hidden.build((None, None, input_shape[-1]))
        self.score.build((None, None, self.units))
        self.built = True

    def call(self, x: Any) -> Any:
        count = 1
        for size in x.shape[1:-1]:
            count *= size
        rows = ops.reshape(x, (-1, count, x.shape[-1]))  # (batch, positions, features)
        scores = ops.cast(self.score(self.hidden(rows)), "float32")
        weights = ops.cast(ops.softmax(scores, axis=1), rows.dtype)
        return ops.sum(weights * rows, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
