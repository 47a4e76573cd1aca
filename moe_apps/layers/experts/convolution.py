"""Convolutional experts, which take whole examples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "conv",
    paper="Zhang et al. 2023, arXiv 2308.10110",
    purpose="two convolutions on a sequence or an image; routes whole examples",
    causal=False,
)
class ConvExperts(ExpertBank):
    """Two-layer convolutional experts: `activation(x * K1 + b1) * K2 + b2`, `*` a convolution.

    Both convolutions have stride 1 and keep the positions ("same" padding with zeros). Use
    the bank in `MoE(..., level="sample")`.

    Source: the idea of routing whole images to convolutional experts is that of Zhang et al.
    2023, "Robust Mixture-of-Expert Training for Convolutional Neural Networks", arXiv 2308.10110;
    the two-layer expert is ours.

    Args:
        num_experts: number of experts.
        hidden_dim: channels between the two convolutions.
        output_dim: channels of the output; None keeps the input's.
        kernel_size: extent of both kernels, an integer for all axes or one for each. Default 3.
        activation: between the convolutions. Default "relu".
        kernel_initializer: of the kernels; biases start at 0.

    A row is an example `(time, features)` or `(height, width, features)`; the shape given to
    `build` decides between the two.

    Example:
        >>> bank = ConvExperts(num_experts=4, hidden_dim=8)
        >>> tuple(bank(keras.random.normal((4, 5, 7, 7, 3))).shape)  # 5 images for each expert
        (4, 5, 7, 7, 3)
    """

    whole_samples = True

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        output_dim: int | None = None,
        kernel_size: int | Sequence[int] = 3,
        activation: Any = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, **kwargs)
        sizes = [kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
        if any(size < 1 for size in sizes):
            raise ValueError(f"`kernel_size` must be at least 1. Received: {kernel_size}")
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.kernel_size = kernel_size
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        rank, features = len(input_shape) - 3, input_shape[-1]
        if rank not in (1, 2):
            raise ValueError(
                "Convolutional experts take `(experts, examples, time, features)` or "
                f"`(experts, examples, height, width, features)`. Received: {input_shape}. In "
                '`MoE`, use level="sample".'
            )
        size = self.kernel_size
        self.extent = (size,) * rank if isinstance(size, int) else tuple(size)
        if len(self.extent) != rank:
            raise ValueError(f"`kernel_size` must have {rank} values. Received: {size}")
        outputs = self.features_out(features)
        for name, width_in, width_out in (
            ("1", features, self.hidden_dim),
            ("2", self.hidden_dim, outputs),
        ):
            shape = (*self.extent, width_in, width_out)
            self.add_stacked_weight(f"kernel_{name}", shape, self.kernel_initializer)
            self.add_stacked_weight(f"bias_{name}", (1, width_out), "zeros")
        self.built = True

    def features_out(self, features: int) -> int:
        return self.output_dim or features

    def compute(self, x: Any, *weights: Any) -> Any:
        kernel_1, bias_1, kernel_2, bias_2 = weights
        hidden = self.activation(self._convolve(x, kernel_1, bias_1))
        return self._convolve(hidden, kernel_2, bias_2)

    def _convolve(self, x: Any, kernel: Any, bias: Any) -> Any:
        """`(..., rows, *positions, channels)` convolved with `(..., *extent, channels, out)`."""
        if len(kernel.shape) == len(self.extent) + 2:  # one expert
            # No `ops.conv`: oneDNN gives an expert without rows the channels of its input.
            return convolve_groups(x[None], kernel[None])[0] + bias
        return convolve_groups(x, kernel) + ops.reshape(
            bias, (-1, *(1,) * (len(x.shape) - 2), bias.shape[-1])
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
        }


def convolve_groups(x: Any, kernel: Any) -> Any:
    """Convolution of each group of rows with a kernel of its own, zeros around the positions.

    A sum of one batched product for each cell of the kernel: plain products compile well
    everywhere, which grouped convolutions do not on CPU, and unfolded patches take the memory of
    as many inputs as a kernel has cells.

    Args:
        x: `(groups, rows, *positions, channels)`; a group axis of 1 serves all kernels.
        kernel: `(groups, *extent, channels, channels_out)`.

    Returns:
        `(groups, rows, *positions, channels_out)`.

    Example:
        >>> x = ops.reshape(ops.array([1.0, 2.0, 3.0]), (1, 1, 3, 1))
        >>> right_neighbour = ops.reshape(ops.array([0.0, 0.0, 1.0]), (1, 3, 1, 1))
        >>> [float(value) for value in convolve_groups(x, right_neighbour)[0, 0, :, 0]]
        [2.0, 3.0, 0.0]
    """
    extent = kernel.shape[1:-2]
    groups, rows, *positions, channels = ops.shape(x)
    padding = [((size - 1) // 2, size // 2) for size in extent]
    padded = ops.pad(x, ((0, 0), (0, 0), *padding, (0, 0)))
    outputs: Any = 0.0
    for cell in itertools.product(*(range(size) for size in extent)):
        window = tuple(
            slice(start, start + length) for start, length in zip(cell, positions, strict=True)
        )
        neighbours = padded[(slice(None), slice(None), *window)]
        flat = ops.reshape(neighbours, (groups, rows * math.prod(positions), channels))
        outputs = outputs + ops.matmul(flat, kernel[(slice(None), *cell)])
    return ops.reshape(outputs, (ops.shape(kernel)[0], rows, *positions, kernel.shape[-1]))
