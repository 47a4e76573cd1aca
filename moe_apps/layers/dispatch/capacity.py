"""A fixed number of slots per expert; pairs beyond it are dropped."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.dispatch.blocks import run_blocks
from moe_apps.layers.dispatch.compilation import compiles_with_static_shapes
from moe_apps.layers.dispatch.dispatcher import Dispatcher, active_expert_of_pair
from moe_apps.layers.dispatch.permutation import rank_in_expert
from moe_apps.layers.dispatch.slices import run_slices


@keras.saving.register_keras_serializable(package="moe_apps")
class Capacity(Dispatcher):
    """Static slots per expert: `capacity = ceil(factor * k * tokens / experts)`.

    First choices are served before second ones, and among equal choices the tokens in the order
    that `priority` says. A dropped pair adds nothing, and the other weights are not rescaled, so
    put the layer inside a residual connection. What one token gets depends on the others of its
    batch: do not serve with it.

    Source: Lepikhin et al. 2020, "GShard", arXiv 2006.16668; Fedus et al. 2021, arXiv 2101.03961;
    Riquelme et al. 2021, arXiv 2106.05974 (batch-prioritised routing). Published codes define
    capacity in four ways; this one counts the k choices.

    Args:
        factor: capacity factor in training, > 0. Default 1.25.
        inference_factor: capacity factor otherwise. Default 2.0.
        priority: "order" serves tokens as they come. "probability" serves those whose largest
            weight is highest first, so that what is dropped is what the router cares least for;
            a token then competes with later tokens too. Default "order".
        scheduled: the `MoE` layer gets a setting "capacity", at first `factor`, that takes the
            place of `factor` in training. Slots stay allocated for `factor`, so a value above it
            has no effect. Default False.

    Example:
        >>> Capacity(factor=1.0).slots(num_tokens=16, k=2, num_experts=8, training=True)
        4
    """

    def __init__(
        self,
        factor: float = 1.25,
        inference_factor: float = 2.0,
        priority: Literal["order", "probability"] = "order",
        scheduled: bool = False,
    ) -> None:
        for name, value in (("factor", factor), ("inference_factor", inference_factor)):
            if value <= 0:
                raise ValueError(f"`{name}` must be greater than 0. Received: {value}")
        if priority not in ("order", "probability"):
            raise ValueError(f'`priority` must be "order" or "probability". Received: {priority!r}')
        self.factor = factor
        self.inference_factor = inference_factor
        self.priority = priority
        self.scheduled = scheduled

    def slots(self, num_tokens: Any, k: int, num_experts: int, training: bool | None) -> Any:
        """Slots per expert: an int, or a scalar tensor where `num_tokens` is one."""
        factor = Fraction(self.factor if training else self.inference_factor)
        # In whole numbers, so that all modes round alike; an expert sees a token once at most.
        share = min(factor.limit_denominator(1000) * k / num_experts, Fraction(1))
        return -(-num_tokens * share.numerator // share.denominator)

    def __call__(
        self,
        tokens: Any,
        indices: Any,
        weights: Any,
        experts: Any,
        training: bool | None,
        capacity_factor: Any = None,
    ) -> tuple[Any, Any]:
        """As `Dispatcher`, and at most `ceil(capacity_factor * k * tokens / experts)` slots are
        taken, where the scalar tensor `capacity_factor` is given."""
        num_experts, k = experts.num_experts, indices.shape[-1]
        num_tokens = ops.shape(tokens)[0]
        capacity = self.slots(num_tokens, k, num_experts, training)
        expert = active_expert_of_pair(indices, weights, num_experts)
        if self.priority == "probability":
            rank, count = _rank_by_top_weight(expert, weights, num_experts)
        else:
            rank, count = rank_in_expert(expert, num_experts)
        kept = ops.logical_and(expert < num_experts, rank < capacity)
        if capacity_factor is not None:
            fair = ops.cast(num_tokens, "float32") * (k / num_experts)
            # Rounding must not make a whole number the next one.
            limit = ops.ceil(capacity_factor * fair - 1e-3)
            kept = ops.logical_and(kept, ops.cast(rank, "float32") < limit)
        served = ops.where(kept, expert, num_experts)
        if compiles_with_static_shapes():
            outputs = run_blocks(tokens, served, rank, experts, weights, first=capacity)
        else:
            outputs = run_slices(tokens, served, experts, weights)
        kept_share = ops.sum(ops.cast(kept, "float32")) / ops.maximum(
            ops.cast(ops.sum(count), "float32"), 1.0
        )
        return outputs, 1.0 - kept_share

    def get_config(self) -> dict[str, Any]:
        return {
            "factor": self.factor,
            "inference_factor": self.inference_factor,
            "priority": self.priority,
            "scheduled": self.scheduled,
        }


def _rank_by_top_weight(expert: Any, weights: Any, num_experts: int) -> tuple[Any, Any]:
    """As `rank_in_expert`, for queues in which tokens stand by falling largest weight.

    Args:
        expert: `(k * tokens,)` int32, all first choices first.
        weights: `(tokens, k)`.
        num_experts: number of experts.
    """
    k = weights.shape[-1]
    order = ops.argsort(-ops.max(weights, axis=-1))  # of tokens; equal ones stay in order
    queue = ops.take(ops.reshape(expert, (k, -1)), order, axis=1)
    rank, count = rank_in_expert(ops.reshape(queue, (-1,)), num_experts)
    back = ops.argsort(order)  # the inverse permutation
    return ops.reshape(ops.take(ops.reshape(rank, (k, -1)), back, axis=1), (-1,)), count
