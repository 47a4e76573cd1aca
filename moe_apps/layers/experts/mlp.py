"""Experts of any depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "mlp",
    paper="Ma et al. 2018, KDD (MMoE)",
    purpose="networks of any depth, as recommendation models have them",
)
class MLPExperts(ExpertBank):
    """Experts of any depth: `x <- activation(x W_l + b_l)` for each layer l.

    Source: Ma et al. 2018, "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD.

    Args:
        num_experts: number of experts.
        units: width of each layer; the last one is the output's.
        activation: of all layers but the last. Default "relu".
        output_activation: of the last layer. Default "relu"; None for none.
        kernel_initializer: of the matrices; biases start at 0.

    Example:
        >>> MLPExperts(num_experts=4, units=(16, 3))(keras.random.normal((4, 5, 8))).shape[-1]
        3
    """

    def __init__(
        self,
        num_experts: int,
        units: Sequence[int],
        activation: Any = "relu",
        output_activation: Any = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, **kwargs)
        if not units or min(units) < 1:
            raise ValueError(
                f"`units` must name at least one width, all positive. Received: {units}"
            )
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        self.output_activation = keras.activations.get(output_activation)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        for layer, units in enumerate(self.units):
            self.add_stacked_weight(f"kernel_{layer}", (features, units), self.kernel_initializer)
            self.add_stacked_weight(f"bias_{layer}", (1, units), "zeros")
            features = units
        self.built = True

    def features_out(self, features: int) -> int:
        return self.units[-1]

    def compute(self, x: Any, *weights: Any) -> Any:
        for layer in range(len(self.units)):
            last = layer == len(self.units) - 1
            activation = self.output_activation if last else self.activation
            x = activation(ops.matmul(x, weights[2 * layer]) + weights[2 * layer + 1])
        return x

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "output_activation": keras.activations.serialize(self.output_activation),
        }


@listed(
    EXPERT_BANKS,
    "scaled_mlp",
    paper="Li et al. 2022, arXiv 2211.12105 (AdaptDHM)",
    purpose="networks that are one shared network, scaled and shifted by each expert",
    interpretation=True,
)
class ScaledMLPExperts(MLPExperts):
    """Experts that share a network: `W_e = W_shared * W_own,e`, `b_e = b_shared + b_own,e`.

    The products of the matrices are elementwise, and each layer is
    `x <- activation(x W_e + b_e)`.

    Source: Li et al. 2022, "AdaptDHM", arXiv 2211.12105. Interpretation: the factors W_own start
    at 1, so that all experts start as the shared network; released code leaves the biases out.

    Args:
        num_experts: number of experts.
        units: width of each layer; the last one is the output's.
        activation: of all layers but the last. Default "relu".
        output_activation: of the last layer. Default "relu"; None for none.
        kernel_initializer: of the shared matrices; biases start at 0.

    Example:
        >>> ScaledMLPExperts(num_experts=4, units=(16, 3))(keras.random.normal((4, 5, 8))).shape[-1]
        3
    """

    def build(self, input_shape: Any) -> None:
        self.shared_weights = []
        features = input_shape[-1]
        for layer, units in enumerate(self.units):
            for name, shape, initializer, own in (
                ("kernel", (features, units), self.kernel_initializer.clone(), "ones"),
                ("bias", (1, units), "zeros", "zeros"),
            ):
                self.add_stacked_weight(f"{name}_{layer}", shape, own)
                shared = self.add_weight(
                    name=f"shared_{name}_{layer}", shape=shape, initializer=initializer
                )
                self.shared_weights.append(shared)
            features = units
        self.built = True

    def expert_weights(self) -> list[Any]:
        # Kernels and biases take turns.
        pairs = zip(self.stacked_weights, self.shared_weights, strict=True)
        return [own + one if number % 2 else own * one for number, (own, one) in enumerate(pairs)]
