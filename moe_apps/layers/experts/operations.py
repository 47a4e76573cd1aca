"""Experts that are different operations on an image or a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.registry import LAYERS

OPERATIONS = (
    "separable_1",
    "separable_3",
    "separable_5",
    "separable_7",
    "dilated_3",
    "dilated_5",
    "dilated_7",
    "average_3",
)
"""The operations of the source, each with its kernel size."""


@listed(
    LAYERS,
    "operation_experts",
    paper="Chen et al. 2023, DRSformer, CVPR",
    purpose="mixture of convolutions of several sizes and of pooling, weighed for each image",
    causal=False,
)
class OperationExperts(keras.layers.Layer):
    """Several rounds of operations side by side, each scaled by a gate that sees the whole image.

    With `x_0 = relu(x W)`, every step is `x <- x + relu([g_1 E_1(x), ..., g_n E_n(x)] W)`,
    `[...]` being concatenation along the channels (the source takes the relu of the sum once
    more, which changes nothing, as both terms are at least 0). The gate
    `g = softmax(relu(mean(x) A) B)` has a weight for each step and operation and looks at the
    mean of the input over all positions. All operations always run. They are, with kernel k:

        separable_k: depthwise k, pointwise, relu, depthwise k, pointwise
        dilated_k: depthwise k with dilation 2, pointwise
        average_k: mean over k positions of each axis that lie inside the image

    Convolutions have no biases and keep the number of channels.

    Source: Chen et al. 2023, "Learning A Sparse Transformer Network for Effective Image
    Deraining" (DRSformer), CVPR, arXiv 2303.11950.

    Args:
        steps: number of steps. Default 4.
        operations: names as above. Default: the eight of the source, `OPERATIONS`.

    Call arguments:
        x: `(batch, height, width, channels)` or `(batch, time, channels)`.
        weights: `(batch, steps, operations)` to use in place of the gate's, such as those of a
            whole image (`layer.gate(image)`) for its tiles; or weights for each position,
            `(batch, *positions, steps, operations)`.
        return_routing: also return `{"weights": (batch, steps, operations)}`.

    Example:
        >>> layer = OperationExperts(steps=1, operations=("separable_3", "average_3"))
        >>> tuple(layer(keras.random.normal((2, 6, 6, 4))).shape)
        (2, 6, 6, 4)
    """

    def __init__(
        self, steps: int = 4, operations: Sequence[str] = OPERATIONS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: {steps}")
        for operation in operations:
            kind, _, size = operation.partition("_")
            if kind not in ("separable", "dilated", "average") or not size.isdecimal():
                raise ValueError(
                    f"`operations` has names such as {OPERATIONS}. Received: {operation!r}"
                )
        self.steps = steps
        self.operations = list(operations)

    def build(self, input_shape: Any) -> None:
        if len(input_shape) not in (3, 4):
            raise ValueError(
                "The input must be `(batch, time, channels)` or `(batch, height, width, channels)`."
                f" Received: {input_shape}"
            )
        channels, count = input_shape[-1], len(self.operations)
        self.entry = self._pointwise(channels, "entry")
        self.build_gate(channels)
        self.experts: list[Any] = []  # one list for each step would hide the layers from Keras
        self.mixers = [self._pointwise(channels, f"mixer_{step}") for step in range(self.steps)]
        for step in range(self.steps):
            for operation in self.operations:
                self.experts.append(
                    self._operation(operation, len(input_shape) - 2, channels, step)
                )
        self.entry.build(input_shape)
        for expert in self.experts:
            expert.build(input_shape)
        for mixer in self.mixers:
            mixer.build((*input_shape[:-1], channels * count))
        self.built = True

    def build_gate(self, channels: int) -> None:
        """Make what `gate` needs."""
        count = self.steps * len(self.operations)
        self.gate_hidden = self._dense(2 * count, "gate_hidden", "relu")
        self.gate_output = self._dense(count, "gate_output", None)
        self.gate_hidden.build((None, channels))
        self.gate_output.build((None, 2 * count))

    def _dense(self, units: int, name: str, activation: str | None) -> keras.layers.Layer:
        return keras.layers.Dense(units, activation=activation, dtype=self.dtype_policy, name=name)

    def _pointwise(self, channels: int, name: str) -> keras.layers.Layer:
        return keras.layers.Dense(
            channels, activation="relu", use_bias=False, dtype=self.dtype_policy, name=name
        )

    def _operation(self, name: str, rank: int, channels: int, step: int) -> keras.layers.Layer:
        kind, _, size = name.partition("_")
        common = {"padding": "same", "dtype": self.dtype_policy}
        if kind == "average":
            pool = keras.layers.AveragePooling1D if rank == 1 else keras.layers.AveragePooling2D
            return pool(int(size), strides=1, name=f"{name}_{step}", **common)
        convolution = keras.layers.SeparableConv1D if rank == 1 else keras.layers.SeparableConv2D
        settings = {"filters": channels, "kernel_size": int(size), "use_bias": False, **common}
        if kind == "dilated":
            return convolution(dilation_rate=2, name=f"{name}_{step}", **settings)
        first = convolution(activation="relu", **settings)
        return keras.Sequential([first, convolution(**settings)], name=f"{name}_{step}")

    def gate(self, x: Any) -> Any:
        """Weights `(batch, steps, operations)` of the operations; sums over the last axis are 1."""
        mean = ops.mean(x, axis=tuple(range(1, len(x.shape) - 1)))  # (batch, channels)
        logits = self.gate_output(self.gate_hidden(mean))
        shape = (-1, self.steps, len(self.operations))
        return ops.softmax(ops.reshape(ops.cast(logits, "float32"), shape), axis=-1)

    def call(self, x: Any, weights: Any = None, return_routing: bool = False) -> Any:
        weights = given = self.gate(x) if weights is None else weights
        if len(weights.shape) == 3:  # the same everywhere
            ones = (1,) * (len(x.shape) - 2)
            weights = ops.reshape(weights, (-1, *ones, *weights.shape[1:]))
        count = len(self.operations)
        x = self.entry(x)
        scales = ops.cast(weights, x.dtype)[..., None]  # (batch, *positions or ones, steps, n, 1)
        wide = (*ops.shape(x)[:-1], count * x.shape[-1])
        for step, mixer in enumerate(self.mixers):
            experts = self.experts[step * count : (step + 1) * count]
            outputs = ops.stack([expert(x) for expert in experts], axis=-2)
            x = x + mixer(ops.reshape(outputs * scales[..., step, :, :], wide))
        return (x, {"weights": given}) if return_routing else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps, "operations": self.operations}
