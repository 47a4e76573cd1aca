"""AdaptDHM: clusters of rows found on the way, each with a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from moe_apps.layers import AdaptDHM as AdaptDHMLayer
from moe_apps.models.recommendation.field_embedding import Fields
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class AdaptDHM(Ranker):
    """Each row goes through the network of the cluster that its embedding falls into.

    The clusters follow the data by moving averages, not by gradients; the domain of a row is no
    input of the assignment.

    Source: Li et al. 2022, "AdaptDHM", arXiv 2211.12105. Interpretation: see the layer
    `moe_apps.layers.AdaptDHM`.

    Args:
        fields, tasks: of `Ranker`.
        num_clusters: number of clusters. Default 3.
        units: widths of each cluster's network. Default (64, 32).
        momentum: share of the old centre in each of the `rounds` of a training step.
        rounds: rounds a training step. Default 3.
        **kwargs: of `Ranker`.

    Example:
        >>> model = AdaptDHM(Fields(dense=("age", "income")), [TaskSpec("click")])
        >>> outputs, gates = model.explain({"dense": keras.random.normal((3, 2))})
        >>> tuple(gates["cluster"].shape)
        (3, 3)
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        num_clusters: int = 3,
        units: Sequence[int] = (64, 32),
        momentum: float = 0.9,
        rounds: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        # The networks' last layer has no activation; the towers begin with one.
        self.body = AdaptDHMLayer(
            num_clusters,
            units,
            momentum=momentum,
            rounds=rounds,
            dispatch="dense",
            dtype=self.dtype_policy,
            name="body",
        )
        self.body.build((None, self.embedding.width))
        self.add_towers(self.body.units[-1])

    def body_outputs(
        self, x: Any, training: bool | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        hidden, routing = self.body(x, return_routing=True, training=training)
        hidden = keras.ops.relu(hidden)
        return dict.fromkeys(self.task_names, hidden), {"cluster": routing["weights"]}

    def get_config(self) -> dict[str, Any]:
        own = ("num_clusters", "units", "momentum", "rounds")
        return {**super().get_config(), **{name: getattr(self.body, name) for name in own}}
