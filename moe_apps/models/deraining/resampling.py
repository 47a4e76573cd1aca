"""Moving pixels between space and channels, so that convolutions can resample images."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class SpaceToDepth(keras.layers.Layer):
    """Halves height and width: the 2 x 2 pixels of a block become channels of one pixel.

    Input `(batch, height, width, channels)`, height and width even; output
    `(batch, height / 2, width / 2, 4 channels)`. `DepthToSpace` undoes it.

    Example:
        >>> tuple(SpaceToDepth()(ops.ones((1, 4, 6, 3))).shape)
        (1, 2, 3, 12)
    """

    def call(self, x: Any) -> Any:
        batch, height, width, channels = ops.shape(x)
        x = ops.reshape(x, (batch, height // 2, 2, width // 2, 2, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (batch, height // 2, width // 2, 4 * channels))

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, height, width, channels = input_shape
        return (batch, height and height // 2, width and width // 2, 4 * channels)


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class DepthToSpace(keras.layers.Layer):
    """Enlarges height and width by a factor: channels become pixels of a block (pixel shuffle).

    Input `(batch, height, width, channels)`, channels a multiple of `factor ** 2`, ordered by
    row of the block, column, then channel.

    Args:
        factor: rows and columns that a pixel becomes. Default 2.

    Source: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient
    Sub-Pixel Convolutional Neural Network", arXiv 1609.05158.

    Example:
        >>> tuple(DepthToSpace()(ops.ones((1, 2, 3, 12))).shape)
        (1, 4, 6, 3)
    """

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        batch, height, width, channels = ops.shape(x)
        n = self.factor
        x = ops.reshape(x, (batch, height, width, n, n, channels // n**2))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (batch, height * n, width * n, channels // n**2))

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, height, width, channels = input_shape
        n = self.factor
        return (batch, height and height * n, width and width * n, channels // n**2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}
