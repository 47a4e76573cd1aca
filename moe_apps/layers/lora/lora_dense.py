"""A frozen dense layer with routed low-rank experts, and how many of them each layer gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from moe_apps.layers.catalogue import listed
from moe_apps.layers.dispatch import Dispatcher
from moe_apps.layers.lora.frozen_base import AdaptedDense
from moe_apps.layers.lora.lora_experts import LoRAExperts
from moe_apps.layers.moe import MoE
from moe_apps.layers.routing import Router
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "moe_lora_dense",
    paper="Gao et al. 2024, arXiv 2402.08562 (MoLA)",
    purpose="fine-tunes a frozen dense layer by routed low-rank experts",
)
class MoELoRADense(AdaptedDense):
    """A frozen dense layer plus routed low-rank experts.

    `y = activation(x W + b + sum_i weight_i (alpha / rank) (x A_i) B_i)`. The frozen layer stands
    outside the sum, and B starts at 0, so that at first the output is the frozen layer's, whatever
    the router does.

    Source: Gao et al. 2024, "MoLA", arXiv 2402.08562; it has `TopK(k=2, renormalize=True)`.

    Args:
        base: the `keras.layers.Dense` to adapt. Its weights become non-trainable.
        router: a `Router`.
        num_experts: number of experts. Default 4.
        rank: rank of each expert. Default 8.
        alpha: scale, divided by the rank. Default 16.
        dropout: of what the router and the experts read, in training. Default 0.
        dispatch: as in `MoE`. Default "dropless".

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real tokens; others get the frozen layer's output.

    Returns:
        `(..., units)`. In training the router's losses are added.

    Example:
        >>> from moe_apps.layers import TopK
        >>> base = keras.layers.Dense(7)
        >>> layer = MoELoRADense(base, TopK(k=2, renormalize=True), rank=2)
        >>> x = keras.random.normal((5, 8))
        >>> bool(keras.ops.all(layer(x) == base(x)))
        True
    """

    def __init__(
        self,
        base: keras.layers.Dense | dict[str, Any],
        router: Router | dict[str, Any],
        num_experts: int = 4,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        dispatch: str | Dispatcher | dict[str, Any] = "dropless",
        **kwargs: Any,
    ) -> None:
        super().__init__(base, **kwargs)
        self.supports_masking = True
        self.router: Router = revive(router)
        self.num_experts = num_experts
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.input_dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.moe = MoE(
            self.router,
            LoRAExperts(
                num_experts,
                rank,
                alpha,
                output_dim=self.base.units,
                dtype=self.dtype_policy,
                name="experts",
            ),
            dispatch=dispatch,
            dtype=self.dtype_policy,
            name="moe",
        )
        self.dispatch = self.moe.dispatch

    def build_update(self, features: int, units: int) -> None:
        self.moe.build((None, features))

    def update(self, x: Any, mask: Any, training: bool | None) -> Any:
        return self.moe(self.input_dropout(x, training=training), mask=mask, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "router": serialize_part(self.router),
            "num_experts": self.num_experts,
            "rank": self.rank,
            "alpha": self.alpha,
            "dropout": self.dropout,
            "dispatch": keras.saving.serialize_keras_object(self.dispatch),
        }


def mola_allocation(num_layers: int, experts: Sequence[int] = (2, 4, 6, 8)) -> list[int]:
    """Number of experts of each layer: the layers fall into equal groups, from below to above.

    Source: Gao et al. 2024, "MoLA", arXiv 2402.08562: higher layers need more experts than lower
    ones.

    Args:
        num_layers: number of layers, at least one for each group.
        experts: experts of each layer of a group, one number a group.

    Example:
        >>> mola_allocation(6, (2, 4, 8))
        [2, 2, 4, 4, 8, 8]
    """
    if not experts or min(experts) < 1:
        raise ValueError(f"`experts` must be positive numbers, at least one. Received: {experts}")
    if num_layers < len(experts):
        raise ValueError(
            f"`num_layers` must be at least the number of groups, {len(experts)}. "
            f"Received: {num_layers}"
        )
    return [experts[layer * len(experts) // num_layers] for layer in range(num_layers)]
