"""A differentiable gate that comes to choose at most k experts."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import masked_mean
from moe_apps.layers.routing.selectors import Paths, SelectorRouter
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "dselect_k",
    paper="Hazimeh et al. 2021, arXiv 2106.03760",
    purpose="a gate without jumps that comes to choose at most k experts",
)
class DSelectK(SelectorRouter):
    """A gate that is differentiable everywhere and comes to choose at most k experts of a token.

    Expert e has its number in binary for a code of `m = ceil(log2 E)` bits. Selector j chooses
    expert e by `s_je = prod_b S(z_jb)` or `1 - S(z_jb)` as bit b of the code is 1 or 0, with
    `z = x W` and the smooth step `S`. The gate is `sum_j a_j s_j`, `a = softmax(x V)` over the
    selectors. Once all `z` are beyond the knees at `+-gamma / 2`, each selector names one expert.

    Where E is no power of 2, some codes name no expert and the gate would sum to less than 1. It
    is divided by its sum, and the source's reciprocal loss, `sum_j 1 / (1e-6 + sum_e s_je)`, keeps
    selectors off these codes. (A gate of which all selectors name no expert is 0.)

    Shapes hold for all times, so all E experts are in the decision, those not chosen with
    weight 0; where XLA compiles, the blocks of the dropless dispatch cost as if all were chosen.

    Losses: `selector_entropy`, the summed entropy of the selectors, mean over real tokens, and
    `reciprocal` where E is no power of 2. The balance loss of `Router` may be added.

    Source: Hazimeh et al. 2021, "DSelect-k", arXiv 2106.03760, the gate that depends on the
    input.

    Args:
        k: selectors, at least 1. Default 2.
        gamma: width of the smooth step. Default 1.
        entropy_loss_weight: factor of the entropy of the selectors. Default 0.01.
        reciprocal_loss_weight: factor of the reciprocal loss. Default 0.01.
        kernel_initializer: of `W`. Default: uniform in `+-gamma / 100`, so that all experts
            start alike.
        **kwargs: `num_experts`, `balance_loss_weight` of `Router`.

    Example:
        >>> decision = DSelectK(k=2, num_experts=4)(ops.ones((3, 8)))
        >>> tuple(decision.indices.shape), round(float(ops.sum(decision.weights[0])), 4)
        ((3, 4), 1.0)
    """

    def __init__(
        self,
        k: int = 2,
        gamma: float = 1.0,
        entropy_loss_weight: float = 0.01,
        reciprocal_loss_weight: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(k=k, gamma=gamma, entropy_loss_weight=entropy_loss_weight, **kwargs)
        self.reciprocal_loss_weight = reciprocal_loss_weight

    def paths(self, num_experts: int) -> tuple[Paths, int]:
        bits = math.ceil(math.log2(num_experts))
        codes = [[(bit, code >> bit & 1) for bit in range(bits)] for code in range(num_experts)]
        return Paths(codes), bits

    def preferences(self, num_experts: int) -> int:
        return 1

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        share = ops.softmax(self.preference(inputs), axis=1)  # (tokens, k, 1)
        gate = ops.sum(share * self.selectors(logits), axis=1)
        if 2**self.num_splits == gate.shape[-1]:
            return gate
        return gate / ops.maximum(ops.sum(gate, axis=-1, keepdims=True), 1e-6)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.reciprocal_loss_weight and 2**self.num_splits > self.known_num_experts():
            named = ops.sum(self.selectors(logits), axis=-1)  # (tokens, k)
            losses["reciprocal"] = self.reciprocal_loss_weight * masked_mean(
                ops.sum(1 / (1e-6 + named), axis=-1), inputs.mask
            )
        return losses

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reciprocal_loss_weight": self.reciprocal_loss_weight}
