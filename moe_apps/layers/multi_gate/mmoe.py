"""Multi-gate Mixture-of-Experts: one bank, one gate per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts import ExpertBank
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.multi_gate import MultiGate, serialized_router, task_names
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "mmoe",
    paper="Ma et al. 2018, KDD",
    purpose="several tasks on one input: shared experts, a gate for each task",
)
class MMoE(keras.layers.Layer):
    """Several tasks share one bank of experts, each with a gate of its own.

    `y_t = sum_e softmax(x W_t)_e f_e(x)`. All experts serve all rows.

    Source: Ma et al. 2018, "Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts", KDD.

    Args:
        tasks: names of the tasks.
        experts: an `ExpertBank`.
        gate_dropout: in training, drop each gate weight with this probability and scale the
            others to sum 1. Default 0.
        seed: seed of the dropout.
        router: a `Router`, such as `DSelectK`, that each gate gets a copy of in place of the
            softmax. Default None.

    Call arguments:
        x: `(..., features)`. Rows do not interact, so padding needs no mask.
        return_gates: also return the gates' weights.

    Returns:
        Task name -> `(..., units)`; with `return_gates` a tuple of it and task name ->
        `(..., experts)` float32. Adds the losses of the router, if there is one.

    Example:
        >>> from moe_apps.layers import MLPExperts
        >>> layer = MMoE(["click", "buy"], MLPExperts(num_experts=3, units=(16,)))
        >>> outputs = layer(keras.random.normal((5, 8)))
        >>> {task: tuple(y.shape) for task, y in outputs.items()}
        {'click': (5, 16), 'buy': (5, 16)}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        experts: ExpertBank | dict[str, Any],
        gate_dropout: float = 0.0,
        seed: int | None = None,
        router: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = task_names(tasks)
        self.experts: ExpertBank = revive(experts)
        self.gate_dropout = gate_dropout
        self.seed = seed
        self.router = serialized_router(router)
        self.pool = MultiGate(
            sets={"shared": ExpertSet(self.experts, dtype=self.dtype_policy)},
            gates={task: ("shared",) for task in self.tasks},
            dropout=gate_dropout,
            seed=seed,
            router=self.router,
            dtype=self.dtype_policy,
            name="pool",
        )

    def build(self, input_shape: Any) -> None:
        self.pool.build({"shared": input_shape}, {task: input_shape for task in self.tasks})
        self.built = True

    def call(self, x: Any, return_gates: bool = False, training: bool | None = None) -> Any:
        gate_inputs = {task: x for task in self.tasks}
        outputs, gates = self.pool({"shared": x}, gate_inputs, training=training)
        return (outputs, gates) if return_gates else outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tasks": self.tasks,
            "experts": serialize_part(self.experts),
            "gate_dropout": self.gate_dropout,
            "seed": self.seed,
            "router": self.router,
        }
