"""What a router is given about each token, and what it decides."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from keras import ops


class RouterInputs(NamedTuple):
    """What the steps of a router may look at.

    Tokens are numbered over all leading axes of the layer's input, so an input of shape
    `(batch, time, features)` has `batch * time` tokens.

    Attributes:
        tokens: `(tokens, features)` float32.
        mask: `(tokens,)` boolean, true for real tokens, or None for all.
        leading: the leading shape of the layer's input, such as `(batch, time)`.
        state: what the router of the layer below handed on, or None.
        context: what the caller of the layer gave for the router, or None.
        training: whether this is a training step.
    """

    tokens: Any
    mask: Any
    leading: tuple[Any, ...]
    state: Any
    context: Any
    training: bool | None

    def by_position(self, rows: Any) -> Any:
        """Rows `(tokens, ...)` in the layer's leading shape, `(*leading, ...)`."""
        return ops.reshape(rows, (*self.leading, *rows.shape[1:]))

    def by_example(self, rows: Any) -> Any:
        """Rows `(tokens, ...)` by example, `(batch, positions, ...)`, all its positions in a row.

        Raises:
            ValueError: when the layer's input has no axis between batch and features.
        """
        if len(self.leading) < 2:
            raise ValueError(
                "This router weighs the positions of an example against each other: its input "
                f"must be `(batch, ..., features)`. Received {len(self.leading) + 1} axes."
            )
        shape = (self.leading[0], math.prod(self.leading[1:]), *rows.shape[1:])
        return ops.reshape(rows, shape)


class RoutingDecision(NamedTuple):
    """Which experts a token goes to, and with what weight.

    Attributes:
        indices: kind "token": `(tokens, k)` int32, the chosen experts, best first.
            Kind "expert": `(experts, slots)` int32, the tokens each expert chose.
            Kind "slots": None.
        weights: kinds "token" and "expert": float32 of the shape of `indices`, the weight of
            each pair's output. A weight of exactly 0 means inactive: the pair takes no slot and
            enters no statistic.
            Kind "slots": `(groups, time, experts, slots)` float32, how each token's output is
            combined from all slots.
        probabilities: `(tokens, experts)` float32, the router's full distribution.
        losses: name -> scalar, already weighted and masked.
        statistics: name -> tensor: `load` `(experts,)` share of active pairs, `entropy` (nats,
            mean over real tokens), `active_experts` (mean number per real token).
        state: what the next layer's router receives, or None.
        kind: "token": each token names its experts. "expert": each expert names its tokens.
            "slots": each expert's inputs are weighted sums of a group's tokens.
        dispatch: kind "slots" only: `(groups, time, experts, slots)` float32, how each slot is
            combined from a group's tokens.
    """

    indices: Any
    weights: Any
    probabilities: Any
    losses: dict[str, Any]
    statistics: dict[str, Any]
    state: Any = None
    kind: Literal["token", "expert", "slots"] = "token"
    dispatch: Any = None

    def weight_of_expert(self) -> Any:
        """`(tokens, experts)` float32: each token's weight per expert, 0 where not chosen."""
        tokens, experts = ops.shape(self.probabilities)[0], self.probabilities.shape[-1]
        if self.kind == "token":
            chosen = ops.one_hot(self.indices, experts, dtype="float32")
            return ops.sum(chosen * self.weights[..., None], axis=-2)
        if self.kind == "slots":
            return ops.reshape(ops.sum(self.weights, axis=-1), (-1, experts))
        # (experts, slots) -> (experts * tokens,) -> (tokens, experts)
        expert = ops.arange(experts, dtype="int32")[:, None]
        flat = ops.reshape(expert * tokens + self.indices, (-1,))
        summed = ops.segment_sum(ops.reshape(self.weights, (-1,)), flat, experts * tokens)
        return ops.transpose(ops.reshape(summed, (experts, tokens)))
