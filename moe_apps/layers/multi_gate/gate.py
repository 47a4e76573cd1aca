"""Softmax gates that mix the outputs of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.routing import Router
from moe_apps.layers.serialization import revive, serialize_part


def mix(weights: Any, outputs: Any) -> Any:
    """Weighted sum over experts: `(..., experts)` and `(..., experts, units)` to `(..., units)`.

    Example:
        >>> mixed = mix(ops.array([[0.25, 0.75]]), ops.array([[[4.0], [8.0]]]))
        >>> float(mixed[0, 0])
        7.0
    """
    weights = ops.cast(weights, outputs.dtype)
    return ops.squeeze(ops.matmul(weights[..., None, :], outputs), axis=-2)


class Gate(keras.layers.Layer):
    """Weights over experts: `softmax(x W)`, over those that the gate sees.

    Experts that it does not see have weight exactly 0, and so their gradient is exactly 0. The
    arithmetic is float32 under every dtype policy, as a router's is.

    Source: Ma et al. 2018, KDD (the bare linear map).

    Args:
        num_experts: number of experts.
        seen: indices of the experts it sees, ascending; None for all.
        dropout: in training, each weight is set to 0 with this probability and the others are
            scaled to sum 1; a row that would lose all keeps all. It keeps gates from leaning on
            one expert. Default 0.
        use_bias: add a bias to `x W`. Default False.
        seed: seed of the dropout.

    Call arguments:
        x: `(..., features)`.

    Returns:
        `(..., experts)` float32; each row sums to 1.

    Example:
        >>> weights = Gate(num_experts=3, seen=[0, 2])(keras.random.normal((5, 8)))
        >>> tuple(weights.shape), bool(ops.any(weights[:, 1] != 0))
        ((5, 3), False)
    """

    def __init__(
        self,
        num_experts: int,
        seen: Sequence[int] | None = None,
        dropout: float = 0.0,
        use_bias: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}")
        self.num_experts = num_experts
        self.seen = list(range(num_experts) if seen is None else seen)
        self.dropout = dropout
        self.use_bias = use_bias
        self.seed = seed
        if dropout:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        seen = len(self.seen)
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], seen))
        self.bias = (
            self.add_weight(name="bias", shape=(seen,), initializer="zeros")
            if self.use_bias
            else None
        )
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        logits = ops.matmul(x, self.kernel)  # (..., seen)
        weights = self.normalize(logits if self.bias is None else logits + self.bias)
        if training and self.dropout:
            weights = self._drop(weights)
        if len(self.seen) == self.num_experts:
            return weights
        places = ops.one_hot(ops.convert_to_tensor(self.seen, "int32"), self.num_experts)
        return ops.matmul(weights, places)  # (..., experts)

    def normalize(self, logits: Any) -> Any:
        """Weights from logits: softmax here."""
        return ops.softmax(logits, axis=-1)

    def _drop(self, weights: Any) -> Any:
        draws = keras.random.uniform(ops.shape(weights), seed=self.seed_generator)
        kept = ops.where(draws >= self.dropout, weights, 0.0)
        total = ops.sum(kept, axis=-1, keepdims=True)
        return ops.where(total > 0, kept / ops.where(total > 0, total, 1.0), weights)


class SelfGate(Gate):
    """Weights of an expert set over itself: softmax, but for a single expert its sigmoid.

    Source: Wang et al. 2024, "HoME", arXiv 2408.05430.
    """

    def normalize(self, logits: Any) -> Any:
        return ops.sigmoid(logits) if len(self.seen) == 1 else super().normalize(logits)


class RouterGate(keras.layers.Layer):
    """Weights over experts by a router, such as `DSelectK` or `COMET`, over those it sees.

    The router's auxiliary losses are added. Experts that are not chosen have weight exactly 0.

    Args:
        router: a `Router`, or its config; the gate works with a copy of its own, made for the
            experts it sees.
        num_experts, seen: as in `Gate`.

    Call arguments:
        x: `(..., features)`.

    Returns:
        `(..., experts)` float32.

    Example:
        >>> from moe_apps.layers import TopK
        >>> weights = RouterGate(TopK(k=1), num_experts=3)(keras.random.normal((5, 8)))
        >>> tuple(weights.shape), int(ops.sum(ops.cast(weights != 0, "int32")))
        ((5, 3), 5)
    """

    def __init__(
        self,
        router: Router | dict[str, Any],
        num_experts: int,
        seen: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.seen = list(range(num_experts) if seen is None else seen)
        original: Router = revive(router)
        config = {**original.get_config(), "num_experts": len(self.seen), "name": "router"}
        self.router = type(original).from_config(config)

    def build(self, input_shape: Any) -> None:
        self.router.build(input_shape)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        decision = self.router(x, training=training)
        for loss in decision.losses.values():
            self.add_loss(loss)
        # (tokens, k) of the seen experts to (tokens, experts) of all.
        seen = ops.take(ops.convert_to_tensor(self.seen, "int32"), decision.indices, axis=0)
        places = ops.one_hot(seen, self.num_experts)
        weights = ops.sum(decision.weights[..., None] * places, axis=-2)
        return ops.reshape(weights, (*ops.shape(x)[:-1], self.num_experts))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "router": serialize_part(self.router),
            "num_experts": self.num_experts,
            "seen": self.seen,
        }
