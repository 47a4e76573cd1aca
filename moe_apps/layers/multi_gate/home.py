"""HoME: a hierarchy of expert sets for groups of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts import MLPExperts
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.gate import Gate, mix
from moe_apps.layers.multi_gate.multi_gate import MultiGate, serialized_router, task_names
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "feature_gate",
    paper="Wang et al. 2024, arXiv 2408.05430",
    purpose="weighs the features that a set of experts reads",
    interpretation=True,
)
class FeatureGate(keras.layers.Layer):
    """Scales each feature: `x * sum_l softmax(x W)_l 2 sigmoid(x A_l B_l)`.

    B starts at 0, so that at first the output is the input.

    Source: Wang et al. 2024, "HoME", arXiv 2408.05430. Interpretation: public copies of the
    paper's method differ in the factor 2; with it the gate is centred at 1.

    Args:
        heads: number of low-rank maps l, mixed per row. Default 2.
        rank: columns of A_l; None takes `features // heads`.

    Call arguments:
        x: `(..., features)`. Rows do not interact, so padding needs no mask.

    Returns:
        `(..., features)`. No losses are added.

    Example:
        >>> x = keras.random.normal((5, 8))
        >>> bool(ops.all(ops.abs(FeatureGate()(x) - x) < 1e-6))
        True
    """

    def __init__(self, heads: int = 2, rank: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        if heads < 1:
            raise ValueError(f"`heads` must be at least 1. Received: {heads}")
        if rank is not None and rank < 1:
            raise ValueError(f"`rank` must be at least 1. Received: {rank}")
        self.heads = heads
        self.rank = rank
        self.head_gate = Gate(heads, use_bias=True, name="head_gate")

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        rank = self.rank or max(features // self.heads, 1)
        self.head_gate.build(input_shape)
        self.down = self.add_weight(name="down", shape=(features, self.heads * rank))
        self.up = self.add_weight(
            name="up", shape=(self.heads, rank, features), initializer="zeros"
        )
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        rank = self.up.shape[1]
        low = ops.matmul(x, self.down)  # (..., heads * rank)
        low = ops.reshape(low, (*ops.shape(x)[:-1], self.heads, rank))
        scale = 2 * ops.sigmoid(ops.einsum("...lr,lrd->...ld", low, self.up))
        return x * mix(self.head_gate(x), scale)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "rank": self.rank}


@listed(
    LAYERS,
    "home",
    paper="Wang et al. 2024, arXiv 2408.05430",
    purpose="many tasks in groups: experts shared, of a group, and of a task",
    interpretation=True,
)
class HoME(keras.layers.Layer):
    """Hierarchical multi-gate experts for tasks that fall into groups.

    Every set of experts reads `v = FeatureGate(input)` and gives `silu(BN(f_e(v)))`, with
    normalisation of its own for each expert. Two levels, S for the self gate's mixture of a set:

    - `z_g = gate_g(v_g) [E_shared, E_g] + S(E_g)` for each group g, and
      `z_shared = gate(v_shared) [E_shared, all E_g] + S(E_shared)`
    - `o_t = gate_t([z_g, z_shared]) [E2_shared, E2_g, E2_t] + S(E2_t)` for each task t of g, where
      E2_shared reads z_shared, and E2_g and E2_t read z_g.

    So a task never sees experts of another task or, above the first level's shared mixture,
    of another group: their weight, and the gradient through it, is exactly 0.

    Source: Wang et al. 2024, "HoME", arXiv 2408.05430. Interpretation: the paper's abstract names
    the parts; the equations follow public re-implementations, which differ in detail. Ours has
    linear map, batch normalisation and Swish in this order on the last layer of an expert,
    biases in all gates, and gates outside the normalisation.

    Args:
        groups: group name -> names of its tasks; each task is in one group.
        units: widths of each expert's layers.
        num_experts: experts of each set. Default 2.
        feature_heads, feature_rank: `heads` and `rank` of the feature gates.
        router: a `Router`, such as `DSelectK`, that each gate gets a copy of in place of the
            softmax. Default None.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real rows; in training others do not enter the
            normalisation. Rows do not interact otherwise.
        return_gates: also return the gates' weights.

    Returns:
        Task name -> `(..., units[-1])`; with `return_gates` a tuple of it and a list of two dicts,
        one for each level: group name (and "shared") -> `(..., experts)`, and task name -> the
        same, float32. `levels[i].expert_names` names the columns. Adds the losses
        of the router, if there is one.

    Example:
        >>> layer = HoME({"watch": ["long_view"], "interact": ["like", "follow"]}, units=(16,))
        >>> {task: tuple(y.shape) for task, y in layer(keras.random.normal((5, 8))).items()}
        {'long_view': (5, 16), 'like': (5, 16), 'follow': (5, 16)}
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[str]],
        units: Sequence[int],
        num_experts: int = 2,
        feature_heads: int = 2,
        feature_rank: int | None = None,
        router: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        if not groups or not all(groups.values()) or "shared" in groups:
            raise ValueError(
                "`groups` must name at least one group, each with at least one task, and none "
                f'"shared". Received: {groups}'
            )
        self.groups = {group: tuple(tasks) for group, tasks in groups.items()}
        task_names([task for tasks in self.groups.values() for task in tasks])
        self.units = tuple(units)
        self.num_experts = num_experts
        self.feature_heads = feature_heads
        self.feature_rank = feature_rank
        self.router = serialized_router(router)
        self.group_of = {task: group for group, tasks in self.groups.items() for task in tasks}
        # Names of sets and of what they read: a task may be called as a group is.
        of_group = {group: f"group_{group}" for group in self.groups}
        of_task = {task: f"task_{task}" for task in self.group_of}
        meta = ["shared", *of_group.values()]
        self.levels = [
            self._level(
                "meta",
                sets=meta,
                gates={**{g: ("shared", of_group[g]) for g in of_group}, "shared": tuple(meta)},
                self_gates={**of_group, "shared": "shared"},
            ),
            self._level(
                "task",
                sets=[*meta, *of_task.values()],
                gates={t: ("shared", of_group[g], of_task[t]) for t, g in self.group_of.items()},
                self_gates=of_task,
            ),
        ]
        self.feature_gates = [
            {
                name: FeatureGate(
                    feature_heads,
                    feature_rank,
                    dtype=self.dtype_policy,
                    name=f"feature_gate_{level}_{number}",
                )
                for number, name in enumerate(multi_gate.sets)
            }
            for level, multi_gate in enumerate(self.levels)
        ]

    def _level(self, name: str, sets: Sequence[str], **gates: Any) -> MultiGate:
        return MultiGate(
            {
                of: ExpertSet(
                    MLPExperts(
                        self.num_experts,
                        self.units,
                        activation="silu",
                        output_activation=None,
                        dtype=self.dtype_policy,
                        name=f"{name}_experts_{number}",
                    ),
                    normalize=True,
                    dtype=self.dtype_policy,
                    name=f"{name}_set_{number}",
                )
                for number, of in enumerate(sets)
            },
            **gates,
            use_bias=True,
            router=self.router,
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: Any) -> None:
        hidden = (None, self.units[-1])
        both = (None, 2 * self.units[-1])
        for gates, multi_gate, shape in zip(
            self.feature_gates, self.levels, (input_shape, hidden), strict=True
        ):
            for gate in gates.values():
                gate.build(shape)
            inputs = dict.fromkeys(multi_gate.sets, shape)
            gate_shape = shape if multi_gate is self.levels[0] else both
            multi_gate.build(inputs, dict.fromkeys(multi_gate.gates, gate_shape))
        self.built = True

    def call(
        self, x: Any, mask: Any = None, return_gates: bool = False, training: bool | None = None
    ) -> Any:
        meta, top = self.levels
        v = {name: gate(x) for name, gate in self.feature_gates[0].items()}
        gate_inputs = {g: v[f"group_{g}"] for g in self.groups} | {"shared": v["shared"]}
        z, meta_weights = meta(v, gate_inputs, mask=mask, training=training)

        below = {"shared": z["shared"]}
        below |= {f"group_{g}": z[g] for g in self.groups}
        below |= {f"task_{t}": z[g] for t, g in self.group_of.items()}
        v = {name: gate(below[name]) for name, gate in self.feature_gates[1].items()}
        gate_inputs = {
            t: ops.concatenate([z[g], z["shared"]], axis=-1) for t, g in self.group_of.items()
        }
        outputs, weights = top(v, gate_inputs, mask=mask, training=training)
        return (outputs, [meta_weights, weights]) if return_gates else outputs

    def compute_mask(self, x: Any, mask: Any = None) -> list[Any]:
        return [mask] * len(self.group_of)  # every task's output has the positions of the input

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": self.groups,
            "units": self.units,
            "num_experts": self.num_experts,
            "feature_heads": self.feature_heads,
            "feature_rank": self.feature_rank,
            "router": self.router,
        }
