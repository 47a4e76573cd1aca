"""MMoE: shared experts, and a gate for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from moe_apps.layers import MLPExperts
from moe_apps.layers import MMoE as MMoELayer
from moe_apps.models.recommendation.field_embedding import Fields
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class MMoE(Ranker):
    """`output_t = tower_t(sum_e softmax(x W_t)_e f_e(x))`.

    Source: Ma et al. 2018, "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD.

    Args:
        fields, tasks: of `Ranker`.
        num_experts: number of experts. Default 8.
        units: widths of each expert's layers. Default (32,).
        gate_dropout: in training, drop each gate weight with this probability. Default 0.
        router: a `Router` (or its config) in place of the gates' softmax, such as `DSelectK`.
        seed: seed of the gates' dropout.
        **kwargs: of `Ranker`.

    Example:
        >>> model = MMoE(Fields(dense=("age",)), [TaskSpec("click"), TaskSpec("buy")])
        >>> outputs, gates = model.explain({"dense": keras.ops.ones((3, 1))})
        >>> tuple(gates["buy"].shape)
        (3, 8)
    """

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        num_experts: int = 8,
        units: Sequence[int] = (32,),
        gate_dropout: float = 0.0,
        router: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        self.num_experts = num_experts
        self.units = tuple(units)
        self.gate_dropout = gate_dropout
        self.seed = seed
        self.body = MMoELayer(
            self.task_names,
            MLPExperts(num_experts, self.units, dtype=self.dtype_policy, name="experts"),
            gate_dropout=gate_dropout,
            router=router,
            seed=seed,
            dtype=self.dtype_policy,
            name="body",
        )
        self.body.build((None, self.embedding.width))
        self.add_towers(self.units[-1])

    def body_outputs(
        self, x: Any, training: bool | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.body(x, return_gates=True, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "units": self.units,
            "gate_dropout": self.gate_dropout,
            "router": self.body.router,
            "seed": self.seed,
        }
