"""Explicit products of features before the body of a ranking model."""

from __future__ import annotations

from typing import Any

import keras


class FeatureCrossing(keras.layers.Layer):
    """Cross layers one after the other: `x <- x_0 * (x W_l + b_l) + x`.

    Source: Wang et al. 2021, "DCN V2", WWW, in keras-rs (the extra `recommendation`).

    Args:
        layers: number of cross layers, at least 1.

    Call arguments:
        x: `(batch, features)`; the output has the same shape.

    Raises:
        ImportError: keras-rs is not installed.
    """

    def __init__(self, layers: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        import keras_rs

        self.layers = layers
        self.crosses = [
            keras_rs.layers.FeatureCross(dtype=self.dtype_policy, name=f"cross_{number}")
            for number in range(layers)
        ]

    def build(self, input_shape: Any) -> None:
        for cross in self.crosses:
            cross.build(input_shape)
            # keras-rs leaves it to the first call, and a model read back would have no place for
            # its weights.
            cross.dense.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        crossed = x
        for cross in self.crosses:
            crossed = cross(x, crossed)
        return crossed

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layers": self.layers}
