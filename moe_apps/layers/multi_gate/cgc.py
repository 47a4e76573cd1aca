"""Customized gate control and progressive layered extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts import MLPExperts
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.multi_gate import MultiGate, serialized_router, task_names
from moe_apps.registry import LAYERS


class _TaskExperts(keras.layers.Layer):
    """What CGC and PLE have in common: their settings.

    Args:
        tasks: names of the tasks.
        units: widths of each expert's layers.
        specific: experts of each task's own. Default 2.
        shared: experts of all tasks. Default 2.
        activation: of all the experts' layers. Default "relu".
        gate_dropout: in training, drop each gate weight with this probability and scale the
            others to sum 1. Default 0.
        seed: seed of the dropout.
        router: a `Router`, such as `DSelectK`, that each gate gets a copy of in place of the
            softmax. Default None.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        units: Sequence[int],
        specific: int = 2,
        shared: int = 2,
        activation: Any = "relu",
        gate_dropout: float = 0.0,
        seed: int | None = None,
        router: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if specific < 0:
            raise ValueError(f"`specific` must be at least 0. Received: {specific}")
        if shared < 1:
            raise ValueError(f"`shared` must be at least 1. Received: {shared}")
        self.tasks = task_names(tasks)
        self.units = tuple(units)
        self.specific = specific
        self.shared = shared
        self.activation = keras.activations.get(activation)
        self.gate_dropout = gate_dropout
        self.seed = seed
        self.router = serialized_router(router)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tasks": self.tasks,
            "units": self.units,
            "specific": self.specific,
            "shared": self.shared,
            "activation": keras.activations.serialize(self.activation),
            "gate_dropout": self.gate_dropout,
            "seed": self.seed,
            "router": self.router,
        }


@listed(
    LAYERS,
    "cgc",
    paper="Tang et al. 2020, RecSys",
    purpose="several tasks: shared experts, and experts of each task's own",
)
class CGC(_TaskExperts):
    """Customized gate control: a task sees its own experts and the shared ones.

    `y_t = sum_e softmax(x_t W_t)_e f_e`, over the experts of task t, which read x_t, and the
    shared ones, which read x_shared. Without experts of the tasks' own it is MMoE.

    Source: Tang et al. 2020, "Progressive Layered Extraction", RecSys.

    Args:
        tasks: names of the tasks.
        units: widths of each expert's layers.
        specific: experts of each task's own. Default 2.
        shared: experts of all tasks. Default 2.
        activation: of all the experts' layers. Default "relu".
        gate_dropout: in training, drop each gate weight with this probability and scale the
            others to sum 1. Default 0.
        seed: seed of the dropout.
        router: a `Router`, such as `DSelectK`, that each gate gets a copy of in place of the
            softmax. Default None.
        shared_gate: also return the mixture "shared" of all experts, by a gate on x_shared, for
            a level above. Default False.

    Call arguments:
        x: `(..., features)` for all, or a dict of such by the tasks' names and "shared". Rows do
            not interact, so padding needs no mask.
        return_gates: also return the gates' weights.

    Returns:
        Task name (and "shared") -> `(..., units[-1])`; with `return_gates` a tuple of it and name
        -> `(..., experts)` float32, each task's own experts in the order of the tasks and then
        the shared ones, 0 where the gate does not see one. Adds the losses of
        the router, if there is one.

    Example:
        >>> outputs, gates = CGC(["click", "buy"], units=(16,), specific=1, shared=1)(
        ...     keras.random.normal((5, 8)), return_gates=True
        ... )
        >>> tuple(outputs["buy"].shape), float(gates["buy"][0, 0])  # of click's own expert
        ((5, 16), 0.0)
    """

    def __init__(
        self, tasks: Sequence[str], units: Sequence[int], shared_gate: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(tasks, units, **kwargs)
        self.shared_gate = shared_gate
        counts = dict.fromkeys(self.tasks, self.specific) if self.specific else {}
        sets = {
            name: ExpertSet(
                MLPExperts(
                    count,
                    self.units,
                    self.activation,
                    output_activation=self.activation,
                    dtype=self.dtype_policy,
                    name=f"experts_{number}",
                ),
                dtype=self.dtype_policy,
                name=f"set_{number}",
            )
            for number, (name, count) in enumerate({**counts, "shared": self.shared}.items())
        }
        gates: dict[str, tuple[str, ...]] = {
            t: (t, "shared") if self.specific else ("shared",) for t in self.tasks
        }
        if shared_gate:
            gates["shared"] = tuple(sets)
        self.pool = MultiGate(
            sets,
            gates,
            dropout=self.gate_dropout,
            seed=self.seed,
            router=self.router,
            dtype=self.dtype_policy,
            name="pool",
        )

    def build(self, input_shape: Any) -> None:
        shapes = input_shape if isinstance(input_shape, dict) else self._for_each(input_shape)
        self.pool.build(shapes, shapes)
        self.built = True

    def call(self, x: Any, return_gates: bool = False, training: bool | None = None) -> Any:
        inputs = x if isinstance(x, dict) else self._for_each(x)
        outputs, gates = self.pool(inputs, inputs, training=training)
        return (outputs, gates) if return_gates else outputs

    def _for_each(self, value: Any) -> dict[str, Any]:
        return {name: value for name in (*self.tasks, "shared")}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared_gate": self.shared_gate}


@listed(
    LAYERS,
    "ple",
    paper="Tang et al. 2020, RecSys",
    purpose="several tasks: levels of shared experts and experts of each task's own",
)
class PLE(_TaskExperts):
    """Progressive layered extraction: levels of `CGC`, which part the tasks step by step.

    Each level reads, for every task and for the shared experts, what the level below made for
    them; its gates read the same. The top level has no shared gate.

    Source: Tang et al. 2020, "Progressive Layered Extraction", RecSys.

    Args:
        tasks: names of the tasks.
        units: widths of each expert's layers.
        specific: experts of each task's own, on each level. Default 2.
        shared: experts of all tasks, on each level. Default 2.
        activation: of all the experts' layers. Default "relu".
        gate_dropout: in training, drop each gate weight with this probability and scale the
            others to sum 1. Default 0.
        seed: seed of the dropout.
        router: a `Router`, such as `DSelectK`, that each gate gets a copy of in place of the
            softmax. Default None.
        levels: number of levels. Default 2.

    Call arguments:
        x: `(..., features)` for all, or a dict of such by the tasks' names and "shared". Rows do
            not interact, so padding needs no mask.
        return_gates: also return the gates' weights.

    Returns:
        Task name -> `(..., units[-1])`; with `return_gates` a tuple of it and a list of the
        levels' gates as `CGC` returns them. Adds the losses of the router, if there is one.

    Example:
        >>> outputs = PLE(["click", "buy"], units=(16,))(keras.random.normal((5, 8)))
        >>> {task: tuple(y.shape) for task, y in outputs.items()}
        {'click': (5, 16), 'buy': (5, 16)}
    """

    def __init__(
        self, tasks: Sequence[str], units: Sequence[int], levels: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(tasks, units, **kwargs)
        if levels < 1:
            raise ValueError(f"`levels` must be at least 1. Received: {levels}")
        self.levels = levels
        num_gates = len(self.tasks) + 1
        self.extractions = [
            CGC(
                self.tasks,
                self.units,
                specific=self.specific,
                shared=self.shared,
                activation=self.activation,
                gate_dropout=self.gate_dropout,
                seed=None if self.seed is None else self.seed + level * num_gates,
                router=self.router,
                shared_gate=level < levels - 1,
                dtype=self.dtype_policy,
                name=f"level_{level}",
            )
            for level in range(levels)
        ]

    def build(self, input_shape: Any) -> None:
        self.extractions[0].build(input_shape)
        for extraction in self.extractions[1:]:
            extraction.build((None, self.units[-1]))
        self.built = True

    def call(self, x: Any, return_gates: bool = False, training: bool | None = None) -> Any:
        gates = []
        for extraction in self.extractions:
            x, weights = extraction(x, return_gates=True, training=training)
            gates.append(weights)
        return (x, gates) if return_gates else x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": self.levels}
