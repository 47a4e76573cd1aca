"""The router of LLaVA-MoLE: one expert a token, unweighted."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing import Router, RouterInputs, RoutingDecision
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "llava_mole",
    paper="Chen et al. 2024, arXiv 2401.16160 (LLaVA-MoLE)",
    purpose="one low-rank expert a token, taken whole, balanced within each sample",
)
class LLaVAMoLE(Router):
    """Sends each token to its best expert and takes that one's output unweighted.

    The balance term is `sum_e mean(p_e) mean(chosen_e)` with means over the real tokens of a
    sample, averaged over samples. Unweighted, it is all that trains the router: without it the
    router's gradient is exactly 0.

    Source: Chen et al. 2024, "LLaVA-MoLE", arXiv 2401.16160.

    Args:
        weighted: weigh the output by the expert's probability. Default False.
        balance_loss_weight: factor of the balance term. Default 0.01.
        **kwargs: of `Router`.

    The first axis of `(batch, time, features)` counts samples; an input `(tokens, features)` is
    one sample.

    Example:
        >>> import keras
        >>> decision = LLaVAMoLE(num_experts=3)(keras.random.normal((2, 5, 8)))
        >>> tuple(decision.weights.shape), float(decision.weights[0, 0])
        ((10, 1), 1.0)
    """

    def __init__(
        self, weighted: bool = False, balance_loss_weight: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(balance_loss_weight=balance_loss_weight, **kwargs)
        self.weighted = weighted

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = super().weigh(logits, probabilities, indices, inputs)
        return weights if self.weighted else ops.ones_like(weights)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.balance_loss_weight:
            losses["balance"] = self.balance_loss_weight * self._balance(decision, inputs)
        return losses

    def _balance(self, decision: RoutingDecision, inputs: RouterInputs) -> Any:
        experts = decision.probabilities.shape[-1]
        samples = inputs.leading[0] if len(inputs.leading) > 1 else 1
        real = ops.ones_like(decision.weights) if inputs.mask is None else inputs.mask[:, None]
        real = ops.reshape(ops.cast(real, "float32"), (samples, -1, 1))
        chosen = ops.one_hot(decision.indices[:, 0], experts)

        def means(rows: Any) -> Any:
            """`(samples, experts)`."""
            total = ops.sum(ops.reshape(rows, (samples, -1, experts)) * real, axis=1)
            return total / ops.maximum(ops.sum(real, axis=1), 1.0)

        of_sample = ops.sum(means(decision.probabilities) * means(chosen), axis=-1)
        counted = ops.cast(ops.any(real > 0, axis=(1, 2)), "float32")
        return ops.sum(of_sample * counted) / ops.maximum(ops.sum(counted), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weighted": self.weighted}
