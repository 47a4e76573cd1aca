"""Experts with a gate for each task and a memory that runs through the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts import ExpertBank
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.gate import mix
from moe_apps.layers.multi_gate.multi_gate import task_names
from moe_apps.layers.serialization import revive, serialize_part
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "task_expert_memory",
    paper="Ye and Xu 2023, ICCV (TaskExpert)",
    purpose="several tasks over many layers, with a memory of each task's features",
    causal=False,
    interpretation=True,
)
class TaskExpertMemory(keras.layers.Layer):
    """Experts shared by tasks, where each task's memory from the layer below is one more expert.

    `g_t = softmax(mean(x) W_t)`, one weight for each expert and one for the memory;
    `y_t = sum_e g_te f_e(x) + g_t,memory m_t`; `m_t <- m_t + sigmoid(u_t) (y_t - m_t)`, with one
    trained number u_t a task, 0 at first.

    Source: Ye and Xu 2023, "TaskExpert", ICCV. Interpretation: the abstract names experts, gates
    for each task and a memory of task features that takes part in every layer; the formulas are
    ours. Without a memory below, its weight is left out of the softmax and m_t becomes y_t; the
    layer is then MMoE with pooled gates.

    Args:
        tasks: names of the tasks.
        experts: an `ExpertBank`, run on every position.

    Call arguments:
        x: `(batch, *positions, features)`.
        memory: what the layer below returned, or None.
        mask: boolean `(batch, *positions)`, true for real positions; others do not enter the mean
            that the gates read.
        return_gates: also return the gates' weights.

    Returns:
        Task name -> y_t `(batch, *positions, units)`, and task name -> m_t of the same shape;
        with `return_gates` also task name -> `(batch, experts)` float32, or
        `(batch, experts + 1)` where there is a memory. No losses are added.

    Example:
        >>> from moe_apps.layers import FFNExperts
        >>> x = keras.random.normal((2, 5, 8))
        >>> _, memory = TaskExpertMemory(["depth", "edge"], FFNExperts(3, 16))(x)
        >>> y, memory = TaskExpertMemory(["depth", "edge"], FFNExperts(3, 16))(x, memory)
        >>> tuple(y["edge"].shape)
        (2, 5, 8)
    """

    def __init__(
        self, tasks: Sequence[str], experts: ExpertBank | dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.tasks = task_names(tasks)
        self.experts: ExpertBank = revive(experts)
        self.expert_set = ExpertSet(self.experts, dtype=self.dtype_policy, name="experts")

    def build(self, x_shape: Any, memory_shape: Any = None) -> None:
        self.expert_set.build(x_shape)
        self.gate = self.add_weight(
            name="gate",
            shape=(len(self.tasks), x_shape[-1], self.experts.num_experts + 1),
            dtype="float32",
            autocast=False,  # gates are float32 under every policy
        )
        self.update = self.add_weight(name="update", shape=(len(self.tasks),), initializer="zeros")
        self.built = True

    def call(
        self,
        x: Any,
        memory: Mapping[str, Any] | None = None,
        mask: Any = None,
        return_gates: bool = False,
        training: bool | None = None,
    ) -> Any:
        of_experts = self.expert_set(x, training=training)  # (batch, *positions, experts, units)
        logits = ops.einsum("bd,tde->tbe", _mean_of_positions(x, mask), self.gate)
        outputs, updated, gates = {}, {}, {}
        for number, task in enumerate(self.tasks):
            if memory is None:
                gates[task] = ops.softmax(logits[number, :, :-1], axis=-1)
                pool = of_experts
            else:
                gates[task] = ops.softmax(logits[number], axis=-1)
                pool = ops.concatenate([of_experts, memory[task][..., None, :]], axis=-2)
            positions = (1,) * (len(x.shape) - 2)
            weights = ops.reshape(gates[task], (-1, *positions, gates[task].shape[-1]))
            outputs[task] = y = mix(weights, pool)
            if memory is None:
                updated[task] = y
            else:
                share = ops.sigmoid(self.update[number])
                updated[task] = memory[task] + share * (y - memory[task])
        return (outputs, updated, gates) if return_gates else (outputs, updated)

    def compute_mask(self, x: Any, mask: Any = None) -> list[Any]:
        return [mask] * 2 * len(self.tasks)  # outputs and memory have the positions of the input

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "tasks": self.tasks,
            "experts": serialize_part(self.experts),
        }


def _mean_of_positions(x: Any, mask: Any) -> Any:
    """`(batch, features)` float32, the mean over the real positions."""
    x = ops.cast(x, "float32")
    axes = tuple(range(1, len(x.shape) - 1))
    if not axes:
        return x
    if mask is None:
        return ops.mean(x, axis=axes)
    real = ops.cast(mask, "float32")[..., None]
    return ops.sum(x * real, axis=axes) / ops.maximum(ops.sum(real, axis=axes), 1.0)
