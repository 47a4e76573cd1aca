"""The router of DynMoLE: as many experts as the router's entropy asks for."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing import Router, RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import masked_mean
from moe_apps.registry import ROUTERS


def tsallis_entropy(probabilities: Any, q: float) -> Any:
    """`(1 - sum p^q) / (q - 1)` over the last axis; at q = 1 its limit, Shannon's entropy.

    Source: Tsallis 1988, Journal of Statistical Physics 52.

    Example:
        >>> round(float(tsallis_entropy(ops.array([0.5, 0.5]), 2.0)), 4)
        0.5
    """
    p = ops.maximum(probabilities, 1e-30)  # 0 adds nothing, and its gradient is finite
    if abs(q - 1) < 1e-3:  # closer, float32 loses more digits than the limit does
        return -ops.sum(p * ops.log(p), axis=-1)
    return (1 - ops.sum(p**q, axis=-1)) / (q - 1)


@listed(
    ROUTERS,
    "dyn_mole",
    paper="Li et al. 2025, arXiv 2504.00661 (DynMoLE)",
    purpose="all experts for tokens the router is unsure of, few for the others",
    interpretation=True,
)
class DynMoLE(Router):
    """Sends a token to all experts when the router is unsure, else to the few that matter.

    With `p = softmax(x W)` and its Tsallis entropy `H = (1 - sum p^q) / (q - 1)`: where
    `H >= threshold`, to all; elsewhere to the `k` best, and to those whose cumulated probability,
    best first, is at most `top_p` (the one that crosses it stays out). Weights are p.

    Source: Li et al. 2025, "DynMoLE", arXiv 2504.00661. Interpretation: the source sets q and the
    threshold by configuration; the defaults are ours. H of n experts is at most
    `(1 - n^(1 - q)) / (q - 1)`, so with few experts the threshold must be lower.

    Args:
        top_p: cumulated probability up to which experts are kept. Default 0.75.
        k: experts that are kept in any case. Default 2.
        q: index of the entropy, positive. Default 1.1.
        threshold: entropy from which on a token goes to all experts. Default 0.9.
        entropy_loss_weight: factor of the mean entropy over real tokens, which is added to the
            losses. Default 0.001.
        balance_loss_weight: as in `Router`. Default 0.001.
        **kwargs: of `Router`.

    Example:
        >>> import keras
        >>> router = DynMoLE(num_experts=4, kernel_initializer="zeros")
        >>> decision = router(keras.random.normal((3, 8)))  # unsure: all experts
        >>> float(decision.statistics["active_experts"])
        4.0
    """

    def __init__(
        self,
        top_p: float = 0.75,
        k: int = 2,
        q: float = 1.1,
        threshold: float = 0.9,
        entropy_loss_weight: float = 1e-3,
        balance_loss_weight: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(balance_loss_weight=balance_loss_weight, **kwargs)
        if not 0 <= top_p <= 1:
            raise ValueError(f"`top_p` must be in [0, 1]. Received: {top_p}")
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}")
        if q <= 0:
            raise ValueError(f"`q` must be positive. Received: {q}")
        self.top_p = top_p
        self.k = k
        self.q = q
        self.threshold = threshold
        self.entropy_loss_weight = entropy_loss_weight

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, logits.shape[-1])[1], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        p = super().weigh(logits, probabilities, indices, inputs)  # (tokens, experts), best first
        kept = ops.cumsum(p, axis=-1) <= self.top_p
        kept = ops.logical_or(kept, ops.arange(p.shape[-1]) < self.k)
        unsure = tsallis_entropy(p, self.q) >= self.threshold
        return ops.where(ops.logical_or(kept, unsure[:, None]), p, 0.0)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.entropy_loss_weight:
            mean = masked_mean(tsallis_entropy(decision.probabilities, self.q), inputs.mask)
            losses["entropy"] = self.entropy_loss_weight * mean
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "top_p": self.top_p,
            "k": self.k,
            "q": self.q,
            "threshold": self.threshold,
            "entropy_loss_weight": self.entropy_loss_weight,
        }
