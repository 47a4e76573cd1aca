"""A feed-forward layer whose hidden features are filtered at two scales."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class MixedScaleFeedForward(keras.layers.Layer):
    """Widens, filters with 3 x 3 and 5 x 5 kernels side by side, crosses their halves, narrows.

    With hidden width h: `u = x W` (2h channels); `(a3, b3) = relu(depthwise 3 x 3 (u))` and
    `(a5, b5) = relu(depthwise 5 x 5 (u))` in halves; `p = [a3, a5]` and `s = [b3, b5]` go through
    a 3 x 3 and a 5 x 5 convolution that adds up channels in pairs (2h to h), with relu; the
    output is `[p, s] W'`. No biases.

    The pairs are neighbouring channels, which come from one scale, so in the source the scales
    meet in `W'` alone. `cross_scale` (ours) interleaves `a3` with `a5` and `b3` with `b5`, so
    that each pair has one channel of either scale; it costs no weights.

    Source: Chen et al. 2023, DRSformer, CVPR, arXiv 2303.11950.

    Args:
        expansion: h in units of the input channels, rounded down. Default 2.66.
        cross_scale: interleave the scales before the paired convolutions. Default False.
        multiple: h is rounded up to a multiple of this. Default 1, the source's.

    Input and output: `(batch, height, width, channels)`.

    Example:
        >>> tuple(MixedScaleFeedForward()(keras.random.normal((1, 8, 8, 6))).shape)
        (1, 8, 8, 6)
    """

    def __init__(
        self,
        expansion: float = 2.66,
        cross_scale: bool = False,
        multiple: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.expansion = expansion
        self.cross_scale = cross_scale
        self.multiple = multiple

    def build(self, input_shape: Any) -> None:
        *leading, channels = input_shape
        self.hidden = -(-int(self.expansion * channels) // self.multiple) * self.multiple
        wide = (*leading, 2 * self.hidden)
        dense = {"use_bias": False, "dtype": self.dtype_policy}

        def depthwise(size: int, name: str) -> keras.layers.Layer:
            layer = keras.layers.DepthwiseConv2D(size, padding="same", name=name, **dense)
            layer.build(wide)
            return layer

        self.widen = keras.layers.Dense(2 * self.hidden, name="widen", **dense)
        self.widen.build(input_shape)
        self.first_3, self.first_5 = depthwise(3, "first_3"), depthwise(5, "first_5")
        self.second_3, self.second_5 = depthwise(3, "second_3"), depthwise(5, "second_5")
        self.narrow = keras.layers.Dense(channels, name="narrow", **dense)
        self.narrow.build(wide)
        self.built = True

    def call(self, x: Any) -> Any:
        wide = self.widen(x)
        first_3, second_3 = ops.split(ops.relu(self.first_3(wide)), 2, axis=-1)
        first_5, second_5 = ops.split(ops.relu(self.first_5(wide)), 2, axis=-1)
        first = self._pairs(self.second_3(self._joined(first_3, first_5)))
        second = self._pairs(self.second_5(self._joined(second_3, second_5)))
        return self.narrow(ops.concatenate([first, second], axis=-1))

    def _joined(self, small: Any, large: Any) -> Any:
        if not self.cross_scale:
            return ops.concatenate([small, large], axis=-1)
        return ops.reshape(
            ops.stack([small, large], axis=-1), (*ops.shape(small)[:-1], 2 * self.hidden)
        )

    def _pairs(self, x: Any) -> Any:
        """`relu` of the sums of neighbouring channels.

        A depthwise convolution and this sum are a convolution in groups of two channels, which
        not every device has a gradient for.
        """
        pairs = ops.reshape(x, (*ops.shape(x)[:-1], self.hidden, 2))
        return ops.relu(ops.sum(pairs, axis=-1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "expansion": self.expansion,
            "cross_scale": self.cross_scale,
            "multiple": self.multiple,
        }
