"""Random routing as a regulariser."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "smoe_dropout",
    paper="Chen et al. 2023, arXiv 2303.01610",
    purpose="a frozen random router; any number of experts at inference",
)
class SMoEDropout(Router):
    """Frozen random top-k routing whose k may change while training and at inference.

    `logits = x W` with a random `W` that is never trained; the k best experts are weighted by
    the softmax over their logits, so k = E is a dense mixture. k is the setting "k": raise it
    while training with `ScheduledSetting("k", ...)`, and choose it at inference by
    `router.settings["k"].assign(4)`, with nothing rebuilt or compiled again. A k that is not whole
    counts as the next whole number; less than 1 counts as 1.

    Shapes hold for every k, so the decision names all experts and those behind the k-th have
    weight 0: where XLA compiles, the blocks of the dropless dispatch cost as for k = E.

    Source: Chen et al. 2023, "Sparse MoE as the New Dropout", arXiv 2303.01610.

    Args:
        k: initial value of the setting, at least 1. Default 2.
        **kwargs: `num_experts`, `balance_loss_weight`, `z_loss_weight`, `kernel_initializer`
            of `Router`; losses on the routing reach no weight of this router.

    Example:
        >>> router = SMoEDropout(k=1, num_experts=4)
        >>> float(router(ops.ones((3, 8))).statistics["active_experts"])
        1.0
        >>> _ = router.settings["k"].assign(3)
        >>> float(router(ops.ones((3, 8))).statistics["active_experts"])
        3.0
    """

    trainable_kernel = False

    def __init__(self, k: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}")
        self.k = k

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.check_at_most_experts("k", self.k)
        self.add_setting("k", self.k)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, logits.shape[-1])[1], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        ranked = ops.take_along_axis(logits, indices, axis=-1)
        rank = ops.arange(logits.shape[-1], dtype="float32")
        chosen = rank < ops.maximum(self.settings["k"], 1.0)
        return ops.softmax(ops.where(chosen, ranked, -1e9), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}
