"""Experts with batch normalisation inside."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.dispatch.extra_groups import ExtraGroups
from moe_apps.layers.experts import ExpertBank

MOMENTUM, EPSILON = 0.9, 1e-3


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class NormalisedExperts(ExpertBank):
    """Two-layer experts `relu(norm(x W1)) W2 + b2`, each with a batch normalisation of its own.

    In training every expert normalises by mean and variance over all rows of the batch, those of
    the other experts included: an expert's own rows may be one, or none. So in training use
    `MoE(dispatch="dense")`, which gives all rows to all experts. At inference the moving averages
    serve, and every dispatch gives the same.

    Interpretation: of CMoE's experts (Xie et al. 2024, arXiv 2402.11919) the released code has a
    single dense layer; two layers with batch normalisation are said of the paper by others.

    Args:
        num_experts: number of experts.
        hidden_dim: width of the hidden layer.
        output_dim: width of the output.
        kernel_initializer: of W1 and W2.

    Example:
        >>> bank = NormalisedExperts(num_experts=4, hidden_dim=16, output_dim=3)
        >>> tuple(bank(keras.random.normal((1, 5, 8))).shape)
        (4, 5, 3)
    """

    def __init__(self, num_experts: int, hidden_dim: int, output_dim: int, **kwargs: Any) -> None:
        super().__init__(num_experts, **kwargs)
        self.hidden_dim, self.output_dim = hidden_dim, output_dim

    def build(self, input_shape: Any) -> None:
        hidden = (1, self.hidden_dim)
        self.add_stacked_weight(
            "kernel_1", (input_shape[-1], self.hidden_dim), self.kernel_initializer
        )
        self.add_stacked_weight("gamma", hidden, "ones")
        self.add_stacked_weight("beta", hidden, "zeros")
        for name, initializer in (("moving_mean", "zeros"), ("moving_variance", "ones")):
            weight = self.add_weight(
                name=name,
                shape=(self.num_experts, *hidden),
                initializer=initializer,
                trainable=False,
                autocast=False,
            )
            self.stacked_weights.append(weight)
        self.add_stacked_weight(
            "kernel_2", (self.hidden_dim, self.output_dim), self.kernel_initializer
        )
        self.add_stacked_weight("bias_2", (1, self.output_dim), "zeros")
        self.built = True

    def features_out(self, features: int) -> int:
        return self.output_dim

    def call(
        self,
        x: Any,
        expert_ids: Any = None,
        extra: ExtraGroups | None = None,
        training: bool | None = None,
    ) -> Any:
        if not training:
            return super().call(x, expert_ids, extra)
        if isinstance(x, list | tuple) or expert_ids is not None or extra is not None:
            raise ValueError(
                "In training, experts with batch normalisation need all rows of the batch: use "
                '`MoE(..., dispatch="dense")`.'
            )
        kernel_1, gamma, beta, mean, variance, kernel_2, bias_2 = self.expert_weights()
        hidden = ops.cast(ops.matmul(x, kernel_1), "float32")  # (experts, rows, hidden)
        batch_mean, batch_variance = ops.moments(hidden, axes=[1], keepdims=True)
        moving_mean, moving_variance = self.stacked_weights[3:5]
        for moving, old, new in (
            (moving_mean, mean, batch_mean),
            (moving_variance, variance, batch_variance),
        ):
            moving.assign(old * MOMENTUM + ops.stop_gradient(new) * (1 - MOMENTUM))
        return self.compute(x, kernel_1, gamma, beta, batch_mean, batch_variance, kernel_2, bias_2)

    def compute(self, x: Any, *weights: Any) -> Any:
        kernel_1, gamma, beta, mean, variance, kernel_2, bias_2 = weights
        hidden = ops.cast(ops.matmul(x, kernel_1), "float32")
        hidden = (hidden - mean) * ops.rsqrt(variance + EPSILON)
        hidden = ops.relu(ops.cast(hidden, x.dtype) * gamma + beta)
        return ops.matmul(hidden, kernel_2) + bias_2

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
        }
