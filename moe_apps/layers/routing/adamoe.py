"""Routing that chooses by one score and weighs by another."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "adamoe",
    paper="Shen et al. 2025, arXiv 2510.14300",
    purpose="who is chosen and how much it counts are learned apart",
)
class AdaMoE(TopK):
    """Top-k routing whose weights have a part of their own, which does not influence the choice.

    The k largest of `p = softmax(x W)` are chosen, and expert e then weighs `p_e + (x W_s)_e`. So
    the balance loss, which reaches `W` alone, can even out the choice without bending how much
    an expert counts. The weights are not bounded and need not sum to 1.

    Source: Shen et al. 2025, "Expertise need not monopolize", arXiv 2510.14300, and the released
    code, whose balance loss is ours divided by the square of the number of experts.

    Args:
        k: experts per token. Default 1.
        scale_initializer: of `W_s` `(features, experts)`. Default "zeros": plain top-k routing at
            the start.
        z_loss_weight: Default 1e-4.
        **kwargs: further arguments of `TopK`. With `renormalize` or `softmax="chosen"` these
            apply to `p` before `x W_s` is added.

    Example:
        >>> tuple(AdaMoE(k=2, num_experts=4)(ops.ones((3, 5, 8))).weights.shape)
        (15, 2)
    """

    def __init__(
        self,
        k: int = 1,
        scale_initializer: Any = "zeros",
        z_loss_weight: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(k=k, z_loss_weight=z_loss_weight, **kwargs)
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.scale_kernel = self.add_weight(
            name="scale_kernel", shape=self.kernel.shape, initializer=self.scale_initializer
        )

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        scale = ops.matmul(inputs.tokens, self.scale_kernel)  # (tokens, experts)
        own = ops.take_along_axis(scale, indices, axis=-1)  # (tokens, k)
        return super().weigh(logits, probabilities, indices, inputs) + own

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
        }
