"""Several gates over one pool of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.gate import Gate, RouterGate, SelfGate, mix
from moe_apps.layers.serialization import serialize_part


class MultiGate(keras.layers.Layer):
    """Named gates that each mix the experts of the named sets they see.

    `y_g = sum_e gate_g(v_g)_e f_e(x_s)` over the experts e of the sets s that gate g sees. The
    multi-task layers (MMoE, CGC, HoME) are made of it.

    Args:
        sets: set name -> `ExpertSet`; all have outputs of one width.
        gates: gate name -> names of the sets it sees.
        self_gates: gate name -> name of a set whose own mixture, by a `SelfGate` on the set's
            input, is added to the gate's output.
        dropout, use_bias, seed: of the gates.
        router: a `Router` that each gate gets a copy of, in place of a softmax of its input.

    Call arguments:
        inputs: set name -> `(..., features)`.
        gate_inputs: gate name -> `(..., features)`.
        mask: boolean `(...)`, true for real rows, for sets that normalise over rows.

    Returns:
        Gate name -> `(..., units)`, and gate name -> weights `(..., experts)` float32 over all
        experts in the order of `expert_names`, 0 for those the gate does not see.
    """

    def __init__(
        self,
        sets: Mapping[str, ExpertSet],
        gates: Mapping[str, Sequence[str]],
        self_gates: Mapping[str, str] | None = None,
        dropout: float = 0.0,
        use_bias: bool = False,
        seed: int | None = None,
        router: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        if router is not None and dropout:
            raise ValueError(
                f"`dropout` of gates goes with softmax gates, not a router. Received: {dropout}"
            )
        self.sets = dict(sets)
        sizes = [experts.num_experts for experts in self.sets.values()]
        ends = list(accumulate(sizes))
        of_set = {
            name: list(range(end - size, end))
            for name, size, end in zip(self.sets, sizes, ends, strict=True)
        }
        self.expert_names = [f"{name}_{i}" for name in of_set for i in range(len(of_set[name]))]
        self.gates = {
            gate: self._gate(
                number,
                router,
                num_experts=ends[-1],
                seen=sorted(expert for name in seen for expert in of_set[name]),
                dropout=dropout,
                use_bias=use_bias,
                seed=seed,
            )
            for number, (gate, seen) in enumerate(gates.items())
        }
        self.set_of_self_gate = dict(self_gates or {})
        self.self_gates = {
            gate: SelfGate(len(of_set[name]), use_bias=use_bias, name=f"self_gate_{number}")
            for number, (gate, name) in enumerate(self.set_of_self_gate.items())
        }

    @staticmethod
    def _gate(
        number: int,
        router: Any,
        *,
        num_experts: int,
        seen: Sequence[int],
        dropout: float,
        use_bias: bool,
        seed: int | None,
    ) -> Any:
        name = f"gate_{number}"
        if router is not None:
            return RouterGate(router, num_experts, seen, name=name)
        seed = None if seed is None else seed + number
        return Gate(num_experts, seen, dropout, use_bias, seed, name=name)

    def build(self, inputs_shape: Any, gate_inputs_shape: Any) -> None:
        for name, experts in self.sets.items():
            experts.build(inputs_shape[name])
        for name, gate in self.gates.items():
            gate.build(gate_inputs_shape[name])
        for name, gate in self.self_gates.items():
            gate.build(inputs_shape[self.set_of_self_gate[name]])
        self.built = True

    def call(
        self, inputs: Any, gate_inputs: Any, mask: Any = None, training: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        of_set = {
            name: experts(inputs[name], mask=mask, training=training)
            for name, experts in self.sets.items()
        }
        pool = ops.concatenate(list(of_set.values()), axis=-2)  # (..., experts, units)
        weights = {
            name: gate(gate_inputs[name], training=training) for name, gate in self.gates.items()
        }
        outputs = {name: mix(weights[name], pool) for name in self.gates}
        for name, gate in self.self_gates.items():
            own = self.set_of_self_gate[name]
            outputs[name] = outputs[name] + mix(gate(inputs[own]), of_set[own])
        return outputs, weights

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None  # the mask is for the normalisation; the layer around hands it on


def task_names(tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks as a tuple.

    Raises:
        ValueError: when there are none, a name comes twice, or one is the reserved "shared".
    """
    if isinstance(tasks, str) or not tasks or len(set(tasks)) < len(tasks) or "shared" in tasks:
        raise ValueError(
            f'`tasks` must be distinct names, at least one, none "shared". Received: {tasks}'
        )
    return tuple(tasks)


def serialized_router(router: Any) -> Any:
    """The config of a router, its serialised form as it is, or None for None."""
    return router if router is None or isinstance(router, dict) else serialize_part(router)
