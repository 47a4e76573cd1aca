"""A fixed number of slots per expert; pairs beyond it are dropped."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import keras
from keras import ops

from moe_apps.layers.dispatch.dispatcher import Dispatcher, active_expert_of_pair, weighted_sum
from moe_apps.layers.dispatch.permutation import from_slots, place, rank_in_expert, to_slots


@keras.saving.register_keras_serializable(package="moe_apps")
class Capacity(Dispatcher):
    """Static slots per expert: `capacity = ceil(factor * k * tokens / experts)`.

    First choices are served before second ones, and tokens in the order given. A dropped pair
    adds nothing, and the other weights are not rescaled, so put the layer inside a residual
    connection. What one token gets depends on the others of its batch: do not serve with it.

    Source: Lepikhin et al. 2020, "GShard", arXiv 2006.16668; Fedus et al. 2021, arXiv 2101.03961.
    Published codes define capacity in four ways; this one counts the k choices.

    Args:
        factor: capacity factor in training, > 0. Default 1.25.
        inference_factor: capacity factor otherwise. Default 2.0.

    Example:
        >>> Capacity(factor=1.0).slots(num_tokens=16, k=2, num_experts=8, training=True)
        4
    """

    def __init__(self, factor: float = 1.25, inference_factor: float = 2.0) -> None:
        for name, value in (("factor", factor), ("inference_factor", inference_factor)):
            if value <= 0:
                raise ValueError(f"`{name}` must be greater than 0. Received: {value}")
        self.factor = factor
        self.inference_factor = inference_factor

    def slots(self, num_tokens: Any, k: int, num_experts: int, training: bool | None) -> Any:
        """Slots per expert: an int, or a scalar tensor where `num_tokens` is one."""
        factor = Fraction(self.factor if training else self.inference_factor)
        # In whole numbers, so that all modes round alike; an expert sees a token once at most.
        share = min(factor.limit_denominator(1000) * k / num_experts, Fraction(1))
        return -(-num_tokens * share.numerator // share.denominator)

    def __call__(
        self, tokens: Any, indices: Any, weights: Any, experts: Any, training: bool | None
    ) -> tuple[Any, Any]:
        num_experts, k = experts.num_experts, indices.shape[-1]
        capacity = self.slots(ops.shape(tokens)[0], k, num_experts, training)
        expert = active_expert_of_pair(indices, weights, num_experts)
        rank, count = rank_in_expert(expert, num_experts)
        num_slots = num_experts * capacity
        kept = ops.logical_and(expert < num_experts, rank < capacity)
        placement = place(ops.where(kept, expert * capacity + rank, num_slots), k, num_slots)

        rows = to_slots(tokens, placement)
        rows = ops.reshape(rows, (num_experts, capacity, tokens.shape[-1]))
        outputs = experts(rows)  # (experts, capacity, features_out)
        outputs = ops.reshape(outputs, (-1, outputs.shape[-1]))
        kept_share = ops.sum(ops.cast(kept, "float32")) / ops.maximum(
            ops.cast(ops.sum(count), "float32"), 1.0
        )
        return weighted_sum(from_slots(outputs, placement), weights), 1.0 - kept_share

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "inference_factor": self.inference_factor}
