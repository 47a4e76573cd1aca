"""HoME: a hierarchy of experts for tasks that fall into groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from moe_apps.layers import HoME as HoMELayer
from moe_apps.models.recommendation.field_embedding import Fields
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class HoME(Ranker):
    """Experts shared by all, of a group of tasks, and of a task; normalised, and with self gates.

    Source: Wang et al. 2024, "HoME", arXiv 2408.05430. Interpretation: see the layer
    `moe_apps.layers.HoME`.

    Args:
        fields, tasks: of `Ranker`; the tasks' `group` makes the hierarchy.
        units: widths of each expert's layers. Default (32,).
        num_experts: experts of each set. Default 2.
        feature_heads, feature_rank: of the feature gates; a rank of None is half the width.
        router: a `Router` in place of the gates' softmax.
        **kwargs: of `Ranker`.

    Example:
        >>> tasks = [TaskSpec("view", group="watch"), TaskSpec("like", group="interact")]
        >>> model = HoME(Fields(dense=("age",)), tasks)
        >>> outputs, gates = model.explain({"dense": keras.ops.ones((3, 1))})
        >>> list(gates)
        ['meta: watch', 'meta: interact', 'meta: shared', 'task: view', 'task: like']
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        units: Sequence[int] = (32,),
        num_experts: int = 2,
        feature_heads: int = 2,
        feature_rank: int | None = 16,
        router: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        groups: dict[str, list[str]] = {}
        for task in self.tasks:
            groups.setdefault(task.group, []).append(task.name)
        self.body = HoMELayer(
            groups,
            units,
            num_experts=num_experts,
            feature_heads=feature_heads,
            feature_rank=feature_rank,
            router=router,
            dtype=self.dtype_policy,
            name="body",
        )
        self.body.build((None, self.embedding.width))
        self.add_towers(self.body.units[-1])

    def body_outputs(
        self, x: Any, training: bool | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        outputs, (meta, task) = self.body(x, return_gates=True, training=training)
        gates = {f"meta: {name}": weights for name, weights in meta.items()}
        return outputs, gates | {f"task: {name}": weights for name, weights in task.items()}

    def get_config(self) -> dict[str, Any]:
        own = ("units", "num_experts", "feature_heads", "feature_rank", "router")
        return {**super().get_config(), **{name: getattr(self.body, name) for name in own}}
