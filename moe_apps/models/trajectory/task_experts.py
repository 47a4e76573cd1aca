"""The expert layer: experts of several kinds, and gates of several kinds."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers import CGC, PLE, ExpertBank, MLPExperts
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.multi_gate import MultiGate
from moe_apps.models.trajectory.sequence_experts import GRUExperts, TCNExperts
from moe_apps.models.trajectory.tasks import TASKS

GATES = ("mmoe", "cgc", "ple", "omoe", "shared_bottom")
EXPERTS = ("dense", "gru", "tcn")


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class TaskExperts(keras.layers.Layer):
    """Mixes experts for each of the three tasks.

    Gates, softmax over the experts they see, read the last step (and the context), normalised over
    its features: on raw features their logits grow until each task has one expert for good.

    - `mmoe`: one a task over all experts (Ma et al. 2018, KDD);
    - `omoe`: one for all tasks, its ablation;
    - `cgc`: some experts for all tasks, others of one task alone (Tang et al. 2020, RecSys);
    - `ple`: two levels of `cgc` (the same paper);
    - `shared_bottom`: one expert, no gate.

    Args:
        gate: see above. Default "mmoe".
        experts: `dense` reads the last step; `gru` and `tcn` read the whole sequence (with mmoe,
            omoe and shared_bottom).
        num_experts: number of experts; with `cgc` and `ple` (on each level) a multiple of 3, at
            least 6: every task has `num_experts / 3 - 1` of its own.
        units: width of each expert.
        gate_dropout: see `moe_apps.layers.MMoE`. Default 0.
        seed: of the gates' dropout.

    Call arguments:
        sequence: `(batch, time, features)`, time known.
        context: `(batch, n)` that gates read beside the last step; None for none. `cgc` and `ple`
            give it to their experts too, whose gates read what they read.

    Returns:
        Task name -> `(batch, units)`, and gate weights `(batch, 3, experts)` float32 in the order
        of `TASKS`; of `ple` those of the upper level.

    Raises:
        ValueError: settings that do not go together.

    Example:
        >>> answers, gates = TaskExperts(num_experts=4, units=8)(keras.random.normal((2, 7, 5)))
        >>> tuple(answers["lateral"].shape), tuple(gates.shape)
        ((2, 8), (2, 3, 4))
    """

    def __init__(
        self,
        gate: str = "mmoe",
        experts: str = "dense",
        num_experts: int = 6,
        units: int = 64,
        gate_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if gate not in GATES:
            raise ValueError(f"`gate` must be one of {', '.join(GATES)}. Received: {gate}")
        if experts not in EXPERTS:
            raise ValueError(f"`experts` must be one of {', '.join(EXPERTS)}. Received: {experts}")
        progressive = gate in ("cgc", "ple")
        if progressive and experts != "dense":
            raise ValueError(f"`gate` {gate} goes with dense experts only. Received: {experts}")
        if progressive and (num_experts < 6 or num_experts % 3):
            raise ValueError(
                f"`num_experts` must be a multiple of 3, at least 6, with `gate` {gate}. "
                f"Received: {num_experts}"
            )
        self.gate, self.experts, self.num_experts = gate, experts, num_experts
        self.units, self.gate_dropout, self.seed = units, gate_dropout, seed
        self.mixture: Any = None
        self.gate_normalization = (
            None
            if gate == "shared_bottom"
            else keras.layers.LayerNormalization(dtype=self.dtype_policy, name="gate_normalization")
        )

    def build(self, sequence_shape: Any, context_shape: Any = None) -> None:
        _, steps, features = sequence_shape
        seen = features + (0 if context_shape is None else context_shape[-1])
        common = {"dtype": self.dtype_policy, "name": "mixture"}
        if self.gate_normalization is not None:
            self.gate_normalization.build((None, seen))
        if self.gate == "shared_bottom":
            self.mixture = ExpertSet(self._bank(1, steps), **common)
            self.mixture.build((None, self._read(steps, features)))
        elif self.gate in ("cgc", "ple"):
            self.mixture = (CGC if self.gate == "cgc" else PLE)(
                TASKS,
                units=(self.units,),
                **self._shares(),
                gate_dropout=self.gate_dropout,
                seed=self.seed,
                **common,
            )
            self.mixture.build((None, seen))
        else:
            bank = ExpertSet(self._bank(self.num_experts, steps), dtype=self.dtype_policy)
            self.mixture = MultiGate(
                sets={"shared": bank},
                gates={name: ("shared",) for name in self._gates()},
                dropout=self.gate_dropout,
                seed=self.seed,
                **common,
            )
            self.mixture.build(
                {"shared": (None, self._read(steps, features))},
                {name: (None, seen) for name in self._gates()},
            )
        self.built = True

    def call(
        self, sequence: Any, context: Any = None, training: bool | None = None
    ) -> tuple[dict[str, Any], Any]:
        last = sequence[:, -1]
        seen = last if context is None else ops.concatenate([last, context], axis=-1)
        if self.gate_normalization is not None:
            seen = self.gate_normalization(seen)
        if self.gate in ("cgc", "ple"):
            answers, gates = self.mixture(seen, return_gates=True, training=training)
            gates = gates if self.gate == "cgc" else gates[-1]
        else:
            rows = last
            if self.experts != "dense":
                rows = ops.reshape(sequence, (-1, sequence.shape[1] * sequence.shape[2]))
            if self.gate == "shared_bottom":
                answer = self.mixture(rows, training=training)[:, 0]
                weight = ops.ones((ops.shape(sequence)[0], 1))
                answers, gates = dict.fromkeys(TASKS, answer), dict.fromkeys(TASKS, weight)
            else:
                answers, gates = self.mixture(
                    {"shared": rows}, dict.fromkeys(self._gates(), seen), training=training
                )
                if self.gate == "omoe":
                    answers = dict.fromkeys(TASKS, answers["all"])
                    gates = dict.fromkeys(TASKS, gates["all"])
        return {task: answers[task] for task in TASKS}, ops.stack([gates[t] for t in TASKS], axis=1)

    def _gates(self) -> tuple[str, ...]:
        return ("all",) if self.gate == "omoe" else TASKS

    def _shares(self) -> dict[str, Any]:
        """Experts for all tasks, and of each task's own: of 6 there are 3 and 1, of 9 3 and 2."""
        own = self.num_experts // 3 - 1
        return {"specific": own, "shared": self.num_experts - own * len(TASKS)}

    def _read(self, steps: int, features: int) -> int:
        return features if self.experts == "dense" else steps * features

    def _bank(self, number: int, steps: int) -> ExpertBank:
        settings = {"dtype": self.dtype_policy, "name": "experts"}
        if self.experts == "dense":
            return MLPExperts(number, (self.units,), **settings)
        kind = GRUExperts if self.experts == "gru" else TCNExperts
        return kind(number, steps, self.units, **settings)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gate": self.gate,
            "experts": self.experts,
            "num_experts": self.num_experts,
            "units": self.units,
            "gate_dropout": self.gate_dropout,
            "seed": self.seed,
        }
