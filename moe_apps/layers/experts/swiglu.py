"""Gated experts, and the same unit as a plain layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.layers.experts.rows_product import rows_product
from moe_apps.registry import EXPERT_BANKS


def swiglu(x: Any, gate: Any, up: Any, down: Any) -> Any:
    """`(silu(x gate) * (x up)) down`, with matrices `(features, hidden)` and `(hidden, out)`.

    Source: Shazeer 2020, "GLU Variants Improve Transformer", arXiv 2002.05202.
    """
    hidden = ops.silu(rows_product(x, gate)) * rows_product(x, up)
    return rows_product(hidden, down)


@listed(
    EXPERT_BANKS,
    "swiglu",
    paper="Shazeer 2020, arXiv 2002.05202",
    purpose="gated networks, as language models have them",
)
class SwiGLUExperts(ExpertBank):
    """Gated experts without biases: `(silu(x gate) * (x up)) down`.

    Sources: Shazeer 2020, arXiv 2002.05202; Jiang et al. 2024, "Mixtral", arXiv 2401.04088.

    Args:
        num_experts: number of experts.
        hidden_dim: width of the hidden layer.
        kernel_initializer: of the three matrices.

    Example:
        >>> SwiGLUExperts(num_experts=4, hidden_dim=16)(keras.random.normal((4, 5, 8))).shape[-1]
        8
    """

    def __init__(self, num_experts: int, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(num_experts, **kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        self.add_stacked_weight("gate", (features, self.hidden_dim), self.kernel_initializer)
        self.add_stacked_weight("up", (features, self.hidden_dim), self.kernel_initializer)
        self.add_stacked_weight("down", (self.hidden_dim, features), self.kernel_initializer)
        self.built = True

    def compute(self, x: Any, *weights: Any) -> Any:
        return swiglu(x, *weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable(package="moe_apps")
class SwiGLU(keras.layers.Layer):
    """The gated unit as a dense layer: `sigmoid(x g) * (silu(x gate) * (x up)) down`.

    It serves as the shared expert of an MoE layer, and without the sigmoid gate as the
    feed-forward part of a dense network.

    Source: DeepSeekMoE, Dai et al. 2024, arXiv 2401.06066 (shared experts); Time-MoE, Shi et al.
    2024, arXiv 2409.16040 (the sigmoid gate).

    Args:
        hidden_dim: width of the hidden layer.
        gated: multiply the output by `sigmoid(x g)`, one number a token. Default False.
        kernel_initializer: of all matrices.

    Example:
        >>> SwiGLU(hidden_dim=16, gated=True)(keras.random.normal((2, 5, 8))).shape[-1]
        8
    """

    def __init__(
        self,
        hidden_dim: int,
        gated: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.gated = gated
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]

        def matrix(name: str, rows: int, columns: int) -> Any:
            initializer = self.kernel_initializer.clone()
            return self.add_weight(name=name, shape=(rows, columns), initializer=initializer)

        self.gate = matrix("gate", features, self.hidden_dim)
        self.up = matrix("up", features, self.hidden_dim)
        self.down = matrix("down", self.hidden_dim, features)
        self.output_gate = matrix("output_gate", features, 1) if self.gated else None
        self.built = True

    def call(self, x: Any) -> Any:
        # As one matrix of rows: products of higher rank take twice the time on JAX on CPU.
        rows = ops.reshape(x, (-1, x.shape[-1]))
        outputs = swiglu(rows, self.gate, self.up, self.down)
        if self.output_gate is not None:
            outputs = outputs * ops.sigmoid(ops.matmul(rows, self.output_gate))
        return ops.reshape(outputs, ops.shape(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "gated": self.gated,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
