"""Routing among experts of unequal cost, with logits handed from layer to layer."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import masked_mean
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "moe_plus_plus",
    paper="Jin et al. 2024, arXiv 2410.07348",
    purpose="zero, copy and constant experts beside costly ones; the router sees its predecessor",
)
class MoEPlusPlus(TopK):
    """Top-k routing over costly and zero-cost experts, its logits fed by those of the layer below.

    `z = x W + z_below W_r`, and the weights are those of `TopK`. `z` is the state for the next
    layer: `y, z = moe(x, state=z)`. In the first layer there is none, which is as zeros.

    The bank has the costly experts first, then the zero-cost ones:
    `MixedExperts([FFNExperts(...), ConstantExperts(2), CopyExperts(1), ZeroExperts(1)])` goes with
    `num_zero_cost=4`. The balance loss is `sum_e eta_e f_e P_e`: `f_e` the share of tokens that
    chose e (these sum to k), `P_e` its mean probability, `eta_e` 1 for costly experts and `tau` for
    others, so a smaller `tau` sends more tokens to the zero-cost ones.

    Source: Jin et al. 2024, "MoE++", arXiv 2410.07348, and the released code (`num_silenced`).

    Args:
        k: experts per token. Default 2.
        num_zero_cost: how many of the last experts cost nothing. Default 0.
        tau: in (0, 1], weight of the zero-cost experts in the balance loss. Default 0.75.
        num_silenced: how many of the last experts are zero experts whose weight goes to the
            others that the token chose: their pairs become inactive, and the k weights are
            divided by what remains of their sum. The released code does so with its one zero
            expert. A token that chose only zero experts gets 0. Default 0: a zero expert takes
            its weight away from the others, as the formula of the paper says.
        balance_loss_weight: Default 0.01.
        **kwargs: further arguments of `TopK`.

    Call arguments:
        state: `(..., experts)`, the logits of the layer below, or None.

    Example:
        >>> router = MoEPlusPlus(num_experts=6, num_zero_cost=2)
        >>> first = router(ops.ones((3, 5, 8)))
        >>> tuple(router(ops.ones((3, 5, 8)), state=first.state).state.shape)
        (3, 5, 6)
    """

    def __init__(
        self,
        k: int = 2,
        num_zero_cost: int = 0,
        tau: float = 0.75,
        num_silenced: int = 0,
        balance_loss_weight: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(k=k, balance_loss_weight=balance_loss_weight, **kwargs)
        if not 0 < tau <= 1:
            raise ValueError(f"`tau` must be in (0, 1]. Received: {tau}")
        if not 0 <= num_silenced <= num_zero_cost:
            raise ValueError(
                f"`num_silenced` must be between 0 and `num_zero_cost`. Received: "
                f"num_silenced={num_silenced}, num_zero_cost={num_zero_cost}"
            )
        self.num_zero_cost = num_zero_cost
        self.tau = tau
        self.num_silenced = num_silenced

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        num_experts = self.kernel.shape[-1]
        if self.num_zero_cost > num_experts:
            raise ValueError(
                f"`num_zero_cost` is {self.num_zero_cost}, but there are only {num_experts} "
                "experts."
            )
        self.state_kernel = self.add_weight(
            name="state_kernel",
            shape=(num_experts, num_experts),
            initializer=self.kernel_initializer.clone(),
        )

    def advance(self, inputs: RouterInputs) -> Any:
        logits = super().score(inputs)
        below = ops.zeros_like(logits)
        if inputs.state is not None:
            below = ops.reshape(inputs.state, ops.shape(logits))
        return inputs.by_position(logits + ops.matmul(below, self.state_kernel))

    def score(self, inputs: RouterInputs) -> Any:
        return ops.reshape(inputs.state, (-1, self.kernel.shape[-1]))

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = super().weigh(logits, probabilities, indices, inputs)
        if not self.num_silenced:
            return weights
        weights = ops.where(indices < probabilities.shape[-1] - self.num_silenced, weights, 0.0)
        return weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1e-30)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.balance_loss_weight:
            num_experts = logits.shape[-1]
            # Chosen, not active: a silenced zero expert has been chosen too.
            chosen = ops.sum(ops.one_hot(decision.indices, num_experts), axis=1)
            share = ops.stop_gradient(masked_mean(chosen, inputs.mask))
            importance = masked_mean(decision.probabilities, inputs.mask)
            free = ops.arange(num_experts) >= num_experts - self.num_zero_cost
            eta = ops.where(free, self.tau, 1.0)
            losses["balance"] = self.balance_loss_weight * ops.sum(eta * share * importance)
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_zero_cost": self.num_zero_cost,
            "tau": self.tau,
            "num_silenced": self.num_silenced,
        }


def capacity_split(
    num_pairs: int, num_costly: int, num_zero_cost: int, tau: float = 0.75, gamma: float = 1.1
) -> tuple[float, float]:
    """Slots of each costly expert and of each zero-cost one, which get `1 / tau` times as many.

    With `S = tau num_costly + num_zero_cost`, they are `gamma tau num_pairs / S` and
    `gamma num_pairs / S`; over all experts that is `gamma num_pairs`. Round up to use them.

    Source: Jin et al. 2024, "MoE++", arXiv 2410.07348, equation 8.

    Args:
        num_pairs: pairs of token and choice, k times the tokens: with the number of tokens alone
            half of all second choices would find no slot.
        num_costly: number of costly experts.
        num_zero_cost: number of zero-cost experts.
        tau: as in `MoEPlusPlus`.
        gamma: slots over pairs.

    Example:
        >>> costly, free = capacity_split(200, num_costly=8, num_zero_cost=4, gamma=1.0)
        >>> costly, free, 8 * costly + 4 * free
        (15.0, 20.0, 200.0)
    """
    share = gamma * num_pairs / (tau * num_costly + num_zero_cost)
    return tau * share, share
