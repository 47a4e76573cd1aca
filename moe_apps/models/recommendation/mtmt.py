"""MTMT: what each treatment changes in several outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers import MLPExperts
from moe_apps.layers import MMoE as MMoELayer
from moe_apps.models.recommendation.field_embedding import Fields, FieldTokens
from moe_apps.models.recommendation.ranker import Ranker, TaskSpec, Tower


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class MTMT(Ranker):
    """Multi-task uplift for several treatments, as a base effect and increments.

    `y_k(0) = natural_k(x)`, `y_k(m) = y_k(0) + base_k(x) + increment_km(x)` for the treatments
    m = 1..T, where the increments of a row sum to 0 over m. The user side is MMoE. Each treatment
    is a query that attends over the vectors of the row's fields; base effect and increments are
    read from that and the task's features.

    Outputs of binary tasks are probabilities (not bounded to [0, 1] before `answers`), and the
    loss is the squared error of the arm that the row was in.

    Source: Wei et al. 2024, "Multi-Treatment Multi-Task Uplift Modeling for Enhancing User
    Growth", arXiv 2408.12803. Interpretation: the abstract names the parts; sizes, attention and
    the centring of the increments are ours.

    Args:
        fields, tasks: of `Ranker`.
        treatments: number of treatments T beside the control, at least 1.
        num_experts: experts of the user side. Default 4.
        units: widths of each expert's layers. Default (32,).
        token_dimension: length of the fields' vectors in the attention. Default 16.
        **kwargs: of `Ranker`.

    Inputs of a call: as `Ranker`, and `treatment` int32 `(batch,)`, 0 for the control; without
    it the outputs are those of the control.

    Example:
        >>> model = MTMT(Fields(dense=("age",)), [TaskSpec("visit")], treatments=2)
        >>> rows = {"dense": ops.ones((3, 1)), "treatment": ops.array([0, 1, 2])}
        >>> tuple(model(rows)["visit"].shape), tuple(model.effects(rows)["visit"].shape)
        ((3,), (3, 2))
    """

    from_logits = False
    extra_inputs = ("treatment",)

    def __init__(
        self,
        fields: Fields | Mapping[str, Any],
        tasks: Sequence[TaskSpec | Mapping[str, Any]],
        treatments: int,
        num_experts: int = 4,
        units: Sequence[int] = (32,),
        token_dimension: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(fields, tasks, **kwargs)
        if treatments < 1:
            raise ValueError(f"`treatments` must be at least 1. Received: {treatments}")
        self.treatments = treatments
        self.num_experts = num_experts
        self.units = tuple(units)
        self.token_dimension = token_dimension
        self.body = MMoELayer(
            self.task_names,
            MLPExperts(num_experts, self.units, dtype=self.dtype_policy, name="experts"),
            dtype=self.dtype_policy,
            name="body",
        )
        self.body.build((None, self.embedding.width))
        self.tokens = FieldTokens(token_dimension, dtype=self.dtype_policy, name="tokens")
        self.tokens.build_for(self.embedding)
        self.treated = self.add_weight(
            name="treated", shape=(1, token_dimension), initializer="glorot_uniform"
        )
        self.kinds = self.add_weight(
            name="kinds", shape=(treatments, token_dimension), initializer="glorot_uniform"
        )
        self.add_towers(self.units[-1])
        effect_width = self.units[-1] + token_dimension
        self.base = self._effect_towers("base", effect_width)
        self.increment = self._effect_towers("increment", effect_width)

    def _effect_towers(self, kind: str, width: int) -> dict[str, Tower]:
        towers = {}
        for name in self.task_names:
            tower = Tower(
                self.tower_units,
                self.dropout,
                output_bias=kind == "base",  # of increments that sum to 0 it would cancel out
                dtype=self.dtype_policy,
                name=f"{kind}_{name}",
            )
            tower.build((None, None, width))
            # Effects are small beside the outcome itself: they start at 0.
            tower.output_layer.kernel.assign(ops.zeros(tower.output_layer.kernel.shape))
            towers[name] = tower
        return towers

    def arms(
        self, inputs: Mapping[str, Any], training: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outcome of each arm by task, `(batch, 1 + T)` with the control first, and the gates."""
        hidden, gates = self.body(
            self.features(inputs, training), return_gates=True, training=training
        )
        tokens = self.tokens(inputs, embedding=self.embedding)  # (batch, fields, d)
        treated = ops.cast(self.treated, tokens.dtype)
        queries = ops.concatenate([treated, treated + ops.cast(self.kinds, tokens.dtype)], axis=0)
        scores = ops.einsum("qd,bfd->bqf", queries, tokens) / math.sqrt(self.token_dimension)
        seen = ops.matmul(ops.softmax(scores, axis=-1), tokens)  # (batch, 1 + T, d)
        outcomes = {}
        for task in self.tasks:
            h = hidden[task.name]
            natural = self.towers[task.name](h, training=training)
            if task.kind == "binary":
                natural = ops.sigmoid(natural)
            rows = ops.repeat(h[:, None], self.treatments + 1, axis=1)
            both = ops.concatenate([rows, seen], axis=-1)
            base = self.base[task.name](both[:, :1], training=training)  # (batch, 1)
            increment = self.increment[task.name](both[:, 1:], training=training)  # (batch, T)
            increment = increment - ops.mean(increment, axis=-1, keepdims=True)
            treated_outcome = natural[:, None] + base + increment
            outcomes[task.name] = ops.concatenate([natural[:, None], treated_outcome], axis=-1)
        return outcomes, gates

    def explain(
        self, inputs: Mapping[str, Any], training: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        outcomes, gates = self.arms(inputs, training)
        if "treatment" not in inputs:
            return {name: arms[:, 0] for name, arms in outcomes.items()}, gates
        chosen = ops.one_hot(inputs["treatment"], self.treatments + 1)
        return {name: ops.sum(arms * chosen, axis=-1) for name, arms in outcomes.items()}, gates

    def effects(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What each treatment adds to the outcome of the control, by task `(batch, T)`."""
        return {name: arms[:, 1:] - arms[:, :1] for name, arms in self.arms(inputs)[0].items()}

    def answers(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            task.name: (
                ops.clip(outputs[task.name], 0.0, 1.0)
                if task.kind == "binary"
                else outputs[task.name]
            )
            for task in self.tasks
        }

    def get_config(self) -> dict[str, Any]:
        own = ("treatments", "num_experts", "units", "token_dimension")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
