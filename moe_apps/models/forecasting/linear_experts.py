"""Linear experts of low rank, and a gate that looks at something else than they do."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers import TopK
from moe_apps.layers.experts import ExpertBank
from moe_apps.layers.routing.decision import RouterInputs


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class ContextTopK(TopK):
    """Top-k by a linear score of `context` instead of what the experts work on.

    Args:
        context_dim: width of the context.
        **kwargs: of `TopK`.

    Call arguments:
        context: `(..., context_dim)`, with the leading shape of `x`.

    Example:
        >>> router = ContextTopK(context_dim=3, k=1, num_experts=4)
        >>> tuple(router(ops.ones((2, 8)), context=ops.ones((2, 3))).indices.shape)
        (2, 1)
    """

    def __init__(self, context_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context_dim = context_dim

    def build(self, input_shape: Any) -> None:
        super().build((*input_shape[:-1], self.context_dim))

    def score(self, inputs: RouterInputs) -> Any:
        if inputs.context is None:
            raise ValueError("`ContextTopK` needs the gate's features as `context`.")
        rows = ops.reshape(ops.cast(inputs.context, "float32"), (-1, self.context_dim))
        return super().score(inputs._replace(tokens=rows))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "context_dim": self.context_dim}


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class LowRankExperts(ExpertBank):
    """Linear experts `x A_i B_i + b_i`; B_i and b_i start at 0, so that they first say nothing.

    Args:
        num_experts: number of experts.
        rank: columns of A_i.
        output_dim: columns of B_i.
        kernel_initializer: of A_i.

    Example:
        >>> bank = LowRankExperts(num_experts=4, rank=2, output_dim=3)
        >>> float(ops.max(ops.abs(bank(keras.random.normal((4, 5, 8))))))
        0.0
    """

    def __init__(self, num_experts: int, rank: int, output_dim: int, **kwargs: Any) -> None:
        super().__init__(num_experts, **kwargs)
        self.rank = rank
        self.output_dim = output_dim

    def build(self, input_shape: Any) -> None:
        self.add_stacked_weight("down", (input_shape[-1], self.rank), self.kernel_initializer)
        self.add_stacked_weight("up", (self.rank, self.output_dim), "zeros")
        self.add_stacked_weight("bias", (1, self.output_dim), "zeros")
        self.built = True

    def features_out(self, features: int) -> int:
        return self.output_dim

    def compute(self, x: Any, *weights: Any) -> Any:
        down, up, bias = weights
        return ops.matmul(ops.matmul(x, down), up) + bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank, "output_dim": self.output_dim}
