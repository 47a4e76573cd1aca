"""Top-p routing: as many experts as a token needs."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import entropy, masked_mean
from moe_apps.layers.routing.up_to_k import UpToK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "top_p",
    paper="Huang et al. 2024, arXiv 2403.07652",
    purpose="the fewest experts that together pass a probability: more for harder tokens",
)
class TopP(UpToK):
    """Sends each token to the fewest experts whose probabilities together exceed a threshold.

    `p = softmax(x W)`, sorted from the largest; experts are taken up to and including the first
    whose cumulative sum is greater than `threshold`, at least one. Weights are p, not
    renormalised. In training adds the balance loss and `entropy_loss_weight` times the mean
    entropy of p over real tokens, without which p would become flat to use more experts.

    Source: Huang et al. 2024, "Harder Tasks Need More Experts", arXiv 2403.07652.

    Args:
        threshold: probability to exceed, in [0, 1], a setting that callbacks may change while
            training. Default 0.4.
        k_max: most experts per token, which the threshold then may not be reached with; None for
            all. It bounds the work and the memory. Default None.
        entropy_loss_weight: factor of the entropy loss; 0 leaves it out. Default 0.0001.
        balance_loss_weight: factor of the load-balance loss; 0 leaves it out. Default 0.01.
        **kwargs: `num_experts`, `z_loss_weight`, `kernel_initializer` of `Router`.

    `indices` and `weights` are `(tokens, k_max)`, with weights of 0 behind.

    Example:
        >>> router = TopP(threshold=0.6, num_experts=3, kernel_initializer="identity")
        >>> decision = router(ops.log(ops.array([[0.7, 0.2, 0.1], [0.5, 0.2, 0.3]])))
        >>> [[round(float(w), 2) for w in row] for row in decision.weights]
        [[0.7, 0.0, 0.0], [0.5, 0.3, 0.0]]
    """

    def __init__(
        self,
        threshold: float = 0.4,
        k_max: int | None = None,
        entropy_loss_weight: float = 1e-4,
        balance_loss_weight: float = 1e-2,
        **kwargs: Any,
    ) -> None:
        super().__init__(k_max=k_max, balance_loss_weight=balance_loss_weight, **kwargs)
        if not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be in [0, 1]. Received: {threshold}")
        self.threshold = threshold
        self.entropy_loss_weight = entropy_loss_weight

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.add_setting("threshold", self.threshold)

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = super().weigh(logits, probabilities, indices, inputs)  # falling
        before = ops.cumsum(weights, axis=-1) - weights  # of the better ones together
        needed = ops.logical_or(
            before <= self.settings["threshold"],
            ops.arange(weights.shape[-1]) == 0,  # whatever rounding does to `before`
        )
        return ops.where(needed, weights, 0.0)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.entropy_loss_weight:
            mean = masked_mean(entropy(decision.probabilities), inputs.mask)
            losses["entropy"] = self.entropy_loss_weight * mean
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "entropy_loss_weight": self.entropy_loss_weight,
        }
