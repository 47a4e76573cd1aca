"""AdaptDHM: each row is served by the network of the cluster it falls into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from moe_apps.layers.catalogue import listed
from moe_apps.layers.dispatch import Dispatcher
from moe_apps.layers.experts import ScaledMLPExperts
from moe_apps.layers.moe import MoE
from moe_apps.layers.routing import NearestCentre
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "adapt_dhm",
    paper="Li et al. 2022, arXiv 2211.12105",
    purpose="one network a cluster of rows, where domains are not known",
    interpretation=True,
)
class AdaptDHM(keras.layers.Layer):
    """Finds clusters among the rows, and serves each row by the network of its cluster alone.

    `k = argmax_k x c_k`, `y = f_k(x)`: `MoE` with the router `NearestCentre` and the bank
    `ScaledMLPExperts`.

    Source: Li et al. 2022, "AdaptDHM", arXiv 2211.12105. Interpretation: see the two parts.

    Args:
        num_clusters: number of clusters.
        units: width of each layer of the networks.
        activation: of all layers but the last, which has none. Default "relu".
        momentum, rounds, min_share: of `NearestCentre`.
        dispatch: as in `MoE`. Default "dropless".

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real rows; others do not move the centres, and get 0.
        return_routing: also return the routing, as `MoE` does.

    Returns:
        `(..., units[-1])`; with `return_routing` a tuple of it and
        `{"weights", "probabilities"}`, each `(..., clusters)`. No losses are added; in training
        the centres are updated.

    Example:
        >>> tuple(AdaptDHM(num_clusters=3, units=(16, 1))(keras.random.normal((5, 8))).shape)
        (5, 1)
    """

    def __init__(
        self,
        num_clusters: int,
        units: Sequence[int],
        activation: Any = "relu",
        momentum: float = 0.9,
        rounds: int = 3,
        min_share: float = 0.01,
        dispatch: str | Dispatcher | dict[str, Any] = "dropless",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_clusters = num_clusters
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        self.momentum = momentum
        self.rounds = rounds
        self.min_share = min_share
        self.moe = MoE(
            NearestCentre(momentum, rounds, min_share, name="router"),
            ScaledMLPExperts(
                num_clusters,
                self.units,
                self.activation,
                output_activation=None,
                dtype=self.dtype_policy,
                name="networks",
            ),
            dispatch=dispatch,
            dtype=self.dtype_policy,
            name="moe",
        )
        self.dispatch = self.moe.dispatch

    def build(self, input_shape: Any) -> None:
        self.moe.build(input_shape)
        self.built = True

    def call(
        self,
        x: Any,
        mask: Any = None,
        return_routing: bool = False,
        training: bool | None = None,
    ) -> Any:
        return self.moe(x, mask=mask, return_routing=return_routing, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_clusters": self.num_clusters,
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "momentum": self.momentum,
            "rounds": self.rounds,
            "min_share": self.min_share,
            "dispatch": keras.saving.serialize_keras_object(self.dispatch),
        }
