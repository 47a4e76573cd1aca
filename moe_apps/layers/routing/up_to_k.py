"""What routers with a varying number of experts per token share."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.router import Router


class UpToK(Router):
    """Names the `k_max` best experts of each token; a subclass's `weigh` gives 0 to idle ones.

    Shapes stay static: `indices` and `weights` are `(tokens, k_max)`.

    Args:
        k_max: most experts per token; None for all. It bounds the work and the memory.
        **kwargs: of `Router`.
    """

    def __init__(self, k_max: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k_max is not None and k_max < 1:
            raise ValueError(f"`k_max` must be at least 1. Received: {k_max}")
        self.k_max = k_max

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.k_max is not None:
            self.check_at_most_experts("k_max", self.k_max)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, self.k_max or logits.shape[-1])[1], "int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k_max": self.k_max}
