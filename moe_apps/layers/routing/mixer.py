"""Routing by the environment that an example comes from."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "mixer",
    paper="Nzoyem et al. 2025, arXiv 2502.05335",
    purpose="one expert per family of environments, for meta-learning",
)
class MixER(Router):
    """Sends a whole example to one expert by its context vector, with weight 1.

    `G = softmax([context, 1] W)`, and the expert is the largest entry. No gradient trains W: the
    callback `MixERGateUpdate` sets it from clusters of the contexts.

    Source: Nzoyem et al. 2025, "Towards Foundational Models for Dynamical System
    Reconstruction", arXiv 2502.05335, and its released code.

    Args:
        context_dim: number of entries of a context, at least 1.
        **kwargs: of `Router`; the losses have no gradient here.

    Call arguments:
        context: `(batch, context_dim)`; all tokens of an example share it.

    Example:
        >>> router = MixER(context_dim=2, num_experts=4)
        >>> decision = router(ops.ones((3, 5, 8)), context=ops.ones((3, 2)))
        >>> tuple(decision.indices.shape), float(decision.weights[0, 0])
        ((15, 1), 1.0)
    """

    trainable_kernel = False

    def __init__(self, context_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if context_dim < 1:
            raise ValueError(f"`context_dim` must be at least 1. Received: {context_dim}")
        self.context_dim = context_dim

    def build(self, input_shape: Any) -> None:
        super().build((None, self.context_dim + 1))  # the last row is the bias

    def score(self, inputs: RouterInputs) -> Any:
        context = inputs.context
        if context is None or len(context.shape) != 2 or context.shape[-1] != self.context_dim:
            given = None if context is None else tuple(context.shape)
            raise ValueError(
                f"`MixER` needs `context` of shape (batch, {self.context_dim}). Received: {given}"
            )
        context = ops.stop_gradient(ops.cast(context, "float32"))
        logits = ops.matmul(context, self.kernel[:-1]) + self.kernel[-1]  # (batch, experts)
        return by_example(logits, inputs)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        return ops.ones(ops.shape(indices), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "context_dim": self.context_dim}


def by_example(values: Any, inputs: RouterInputs) -> Any:
    """Values `(batch, ...)` of the examples as rows of their tokens `(tokens, ...)`."""
    batch, *positions = inputs.leading
    features = tuple(values.shape[1:])
    ones = (1,) * len(positions)
    spread = ops.broadcast_to(
        ops.reshape(values, (batch, *ones, *features)), (batch, *positions, *features)
    )
    return ops.reshape(spread, (-1, *features))
