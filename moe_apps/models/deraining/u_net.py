"""A plain U-Net, the yardstick of equal size."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class UNetBackbone(keras.Model):
    """Two 3 x 3 convolutions a level, three levels down and up again, and skips between them.

    Going down takes the maximum of 2 x 2 pixels and doubles the channels. The output is added to
    the image, and starts at 0.

    Source: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", arXiv 1505.04597; padded convolutions and the residual output are ours.

    Args:
        width: channels of the first level.

    Inputs: dict of `image` `(batch, height, width, 3)` in [0, 1], sizes multiples of 8.

    Outputs: dict of `restored`, as `image`.

    Example:
        >>> model = UNetBackbone(width=4)
        >>> tuple(model({"image": ops.zeros((1, 16, 24, 3))})["restored"].shape)
        (1, 16, 24, 3)
    """

    multiple_of = 8
    """Height and width of an image must be multiples of this."""

    def __init__(self, width: int = 16, dtype: Any = None, **kwargs: Any) -> None:
        def convolutions(x: Any, channels: int, name: str) -> Any:
            for number in (1, 2):
                x = keras.layers.Conv2D(
                    channels,
                    3,
                    padding="same",
                    activation="relu",
                    dtype=dtype,
                    name=f"{name}_{number}",
                )(x)
            return x

        image = keras.Input((None, None, 3), name="image", dtype="float32")
        x, skips = image, []
        for level in range(3):
            x = convolutions(x, width * 2**level, f"encoder_{level}")
            skips.append(x)
            x = keras.layers.MaxPooling2D(dtype=dtype, name=f"down_{level}")(x)
        x = convolutions(x, width * 8, "bottleneck")
        for level in (2, 1, 0):
            channels = width * 2**level
            x = keras.layers.Conv2DTranspose(
                channels, 2, strides=2, dtype=dtype, name=f"up_{level}"
            )(x)
            x = convolutions(
                ops.concatenate([x, skips[level]], axis=-1), channels, f"decoder_{level}"
            )
        x = keras.layers.Conv2D(3, 1, kernel_initializer="zeros", dtype=dtype, name="output")(x)
        super().__init__({"image": image}, {"restored": image + ops.cast(x, "float32")}, **kwargs)
        self.width = width
        self.layer_dtype = dtype

    @classmethod
    def of_size(cls, parameters: int, **settings: Any) -> UNetBackbone:
        """The narrowest one with at least that many parameters.

        Example:
            >>> UNetBackbone.of_size(100_000).count_params() >= 100_000
            True
        """
        width = next(width for width in range(1, 10_000) if count(width) >= parameters)
        return cls(width, **settings)

    def tile_inputs(self, routing: Any) -> dict[str, Any]:
        """What the model gets beside a tile: nothing."""
        return {}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "width": self.width,
            "dtype": self.layer_dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UNetBackbone:
        return cls(**config)


def count(width: int) -> int:
    """Parameters of a U-Net of that width.

    Example:
        >>> count(4) == UNetBackbone(width=4).count_params()
        True
    """

    def convolution(size: int, inputs: int, outputs: int) -> int:
        return size * size * inputs * outputs + outputs

    total = convolution(1, width, 3)
    inputs = 3
    for level in range(4):
        channels = width * 2**level
        total += convolution(3, inputs, channels) + convolution(3, channels, channels)
        if level < 3:  # the decoder's convolutions, and the way up to them
            total += convolution(2, 2 * channels, channels)
            total += convolution(3, 2 * channels, channels) + convolution(3, channels, channels)
        inputs = channels
    return total
