"""Shared bottom: one network for all tasks, the model that experts have to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from moe_apps.layers import MLPExperts
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.models.recommendation.field_embedding import Fields
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class SharedBottom(Ranker):
    """`output_t = tower_t(f(x))` with one network f.

    Source: Caruana 1997, "Multitask Learning", Machine Learning 28.

    Args:
        fields, tasks: of `Ranker`.
        units: widths of the network's ReLU layers. Default (64, 32).
        **kwargs: of `Ranker`.

    Example:
        >>> model = SharedBottom(Fields(dense=("age",)), [TaskSpec("click")], units=(8,))
        >>> tuple(model({"dense": keras.ops.ones((3, 1))})["click"].shape)
        (3,)
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        units: Sequence[int] = (64, 32),
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        self.units = tuple(units)
        self.bottom = ExpertSet(
            MLPExperts(1, self.units, dtype=self.dtype_policy, name="network"),
            dtype=self.dtype_policy,
            name="bottom",
        )
        self.bottom.build((None, self.embedding.width))
        self.add_towers(self.units[-1])

    def body_outputs(
        self, x: Any, training: bool | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        hidden = self.bottom(x, training=training)[:, 0]
        return dict.fromkeys(self.task_names, hidden), {}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
