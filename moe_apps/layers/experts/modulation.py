"""Experts that modulate features common to all."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "modulation",
    paper="Zhang et al. 2023, MoFME, arXiv 2312.16610",
    purpose="small experts: scale and shift of features computed once for all, for images",
)
class ModulationExperts(ExpertBank):
    """Experts that scale and shift a common base: `scale_e(z) * z + shift_e(z)`.

    The base `z = gelu(x A1 + a1) * (x A2 + a2)` has one set of weights and is computed once for
    each token, before dispatch, by `prepare`; the experts take it for input. `scale_e` and
    `shift_e` are linear layers, so an expert has `2 d^2 + 2 d` weights whatever the width of a
    feed-forward expert would be. An expert with scale 1 and shift 0 returns the base.

    Source: Zhang et al. 2023, "Efficient Deweather Mixture-of-Experts with Uncertainty-Aware
    Feature-Wise Linear Modulation", arXiv 2312.16610, which puts one feed-forward network, common
    to all experts, behind the mixture and a layer normalisation before it; both are left to the
    model.

    Args:
        num_experts: number of experts.
        modulation: "linear" makes scale and shift of each token from `z`; "vector" learns one
            vector for each, `2 d` weights an expert.
        kernel_initializer: of all matrices; biases start at 0, vector scales at 1.

    Example:
        >>> from moe_apps.layers import MoE, TopK
        >>> layer = MoE(TopK(k=2), ModulationExperts(num_experts=4))
        >>> tuple(layer(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        num_experts: int,
        modulation: Literal["linear", "vector"] = "linear",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, **kwargs)
        if modulation not in ("linear", "vector"):
            raise ValueError(f'`modulation` must be "linear" or "vector". Received: {modulation!r}')
        self.modulation = modulation

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        self.base_gate = self._dense(features, "base_gate", "gelu")
        self.base_value = self._dense(features, "base_value", None)
        if self.modulation == "linear":
            for name in ("scale", "shift"):
                matrix = (features, features)
                self.add_stacked_weight(f"{name}_kernel", matrix, self.kernel_initializer)
                self.add_stacked_weight(f"{name}_bias", (1, features), "zeros")
        else:
            self.add_stacked_weight("scale", (1, features), "ones")
            self.add_stacked_weight("shift", (1, features), "zeros")
        self.built = True

    def _dense(self, features: int, name: str, activation: str | None) -> keras.layers.Dense:
        layer = keras.layers.Dense(
            features,
            activation=activation,
            kernel_initializer=self.kernel_initializer.clone(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, features))
        return layer

    def prepare(self, x: Any) -> Any:
        return self.base_gate(x) * self.base_value(x)

    def compute(self, x: Any, *weights: Any) -> Any:
        if self.modulation == "vector":
            scale, shift = weights
            return scale * x + shift
        scale_kernel, scale_bias, shift_kernel, shift_bias = weights
        scale = ops.matmul(x, scale_kernel) + scale_bias
        return scale * x + ops.matmul(x, shift_kernel) + shift_bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "modulation": self.modulation}
