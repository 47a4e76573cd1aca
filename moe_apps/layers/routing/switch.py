"""Switch routing: one expert a token."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.jitter import jittered
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "switch",
    paper="Fedus et al. 2021, arXiv 2101.03961",
    purpose="one expert a token, balanced by a loss; the cheapest router",
)
class Switch(Router):
    """Sends each token to the expert with the highest probability, weighted by it.

    `p = softmax(x W)`, `index = argmax(p)`, `weight = max(p)`. The weight is not renormalised: it
    would be 1 for every token, and the task would give the router no gradient. The paper serves
    experts with a limited capacity; for that, give `MoE` the dispatch `Capacity(1.25, 2.0)`.

    Source: Fedus et al. 2021, "Switch Transformers", arXiv 2101.03961.

    Args:
        jitter: in training, multiply the inputs by noise uniform in `[1 - jitter, 1 + jitter]`.
            Default 0.01.
        balance_loss_weight: factor of the load-balance loss, which is added in training.
            Default 0.01.
        seed: seed of the jitter.
        **kwargs: `num_experts`, `z_loss_weight`, `kernel_initializer` of `Router`.

    Example:
        >>> decision = Switch(num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.indices.shape), bool(ops.all(decision.weights < 1))
        ((15, 1), True)
    """

    def __init__(
        self,
        jitter: float = 1e-2,
        balance_loss_weight: float = 1e-2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(balance_loss_weight=balance_loss_weight, **kwargs)
        if not 0 <= jitter < 1:
            raise ValueError(f"`jitter` must be in [0, 1). Received: {jitter}")
        self.jitter = jitter
        self.seed = seed
        if jitter:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def score(self, inputs: RouterInputs) -> Any:
        if inputs.training and self.jitter:
            tokens = jittered(inputs.tokens, self.jitter, self.seed_generator)
            inputs = inputs._replace(tokens=tokens)
        return super().score(inputs)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "jitter": self.jitter, "seed": self.seed}
