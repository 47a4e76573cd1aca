"""CGC and PLE: shared experts, and experts of each task's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from moe_apps.layers import PLE as PLELayer
from moe_apps.models.recommendation.field_embedding import Fields
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class PLE(Ranker):
    """Levels of extraction networks, in which a task sees its own experts and the shared ones.

    Source: Tang et al. 2020, "Progressive Layered Extraction", RecSys.

    Args:
        fields, tasks: of `Ranker`.
        units: widths of each expert's layers. Default (32,).
        specific: experts of each task's own, on each level. Default 2.
        shared: experts of all tasks, on each level. Default 2.
        levels: number of levels. Default 2; `CGC` has 1.
        gate_dropout, router, seed: as in `MMoE`.
        **kwargs: of `Ranker`.

    Example:
        >>> model = PLE(Fields(dense=("age",)), [TaskSpec("click"), TaskSpec("buy")])
        >>> outputs, gates = model.explain({"dense": keras.ops.ones((3, 1))})
        >>> sorted(gates)
        ['level 1: buy', 'level 1: click', 'level 1: shared', 'level 2: buy', 'level 2: click']
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        units: Sequence[int] = (32,),
        specific: int = 2,
        shared: int = 2,
        levels: int = 2,
        gate_dropout: float = 0.0,
        router: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        self.body = PLELayer(
            self.task_names,
            units,
            levels=levels,
            specific=specific,
            shared=shared,
            gate_dropout=gate_dropout,
            router=router,
            seed=seed,
            dtype=self.dtype_policy,
            name="body",
        )
        self.body.build((None, self.embedding.width))
        self.add_towers(self.body.units[-1])

    def body_outputs(
        self, x: Any, training: bool | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        outputs, levels = self.body(x, return_gates=True, training=training)
        gates = {
            (f"level {number}: {name}" if len(levels) > 1 else name): weights
            for number, level in enumerate(levels, start=1)
            for name, weights in level.items()
        }
        return outputs, gates

    def get_config(self) -> dict[str, Any]:
        own = ("units", "specific", "shared", "levels", "gate_dropout", "router", "seed")
        return {**super().get_config(), **{name: getattr(self.body, name) for name in own}}


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class CGC(PLE):
    """Customized gate control: `PLE` of one level.

    Source: Tang et al. 2020, "Progressive Layered Extraction", RecSys.

    Args:
        fields, tasks: of `Ranker`.
        levels: 1.
        **kwargs: of `PLE`.

    Example:
        >>> model = CGC(Fields(dense=("age",)), [TaskSpec("click"), TaskSpec("buy")])
        >>> outputs, gates = model.explain({"dense": keras.ops.ones((3, 1))})
        >>> float(gates["buy"][0, 0])  # of click's own expert
        0.0
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        levels: int = 1,
        **kwargs: Any,
    ) -> None:
        if levels != 1:
            raise ValueError(f"`levels` must be 1; `PLE` has several. Received: {levels}")
        super().__init__(fields, tasks, levels=1, **kwargs)
