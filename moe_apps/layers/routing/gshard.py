"""GShard routing: two experts a token, the second one by chance."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import expert_load
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "gshard_top_2",
    paper="Lepikhin et al. 2020, arXiv 2006.16668",
    purpose="two experts a token; a second one of little weight is skipped at random in training",
)
class GShardTop2(Router):
    """Sends each token to its two best experts, weighted by their share of the two.

    `p = softmax(x W)`, `g_1 = p_1 / (p_1 + p_2)`, `g_2 = p_2 / (p_1 + p_2)`. In training the
    second expert is kept with probability `min(1, g_2 / second_threshold)`, which saves slots
    where it would add little. The weights are those of the two experts before anything is left
    out: neither a skipped second expert nor a pair dropped by `Capacity` changes the others.

    Source: Lepikhin et al. 2020, "GShard", arXiv 2006.16668. Released code skips second experts
    at inference too; here inference is deterministic and keeps both.

    Args:
        second_threshold: share from which on the second expert is always kept in training; 0
            always keeps it. Default 0.2.
        balance_loss_weight: factor of the load-balance loss, which is added in training and
            whose load counts first choices only. Default 0.01.
        seed: seed of the random choice.
        **kwargs: `num_experts`, `z_loss_weight`, `kernel_initializer` of `Router`.

    Example:
        >>> decision = GShardTop2(num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.indices.shape), round(float(ops.sum(decision.weights)), 4)
        ((15, 2), 15.0)
    """

    def __init__(
        self,
        second_threshold: float = 0.2,
        balance_loss_weight: float = 1e-2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(balance_loss_weight=balance_loss_weight, **kwargs)
        if not 0 <= second_threshold <= 1:
            raise ValueError(f"`second_threshold` must be in [0, 1]. Received: {second_threshold}")
        self.second_threshold = second_threshold
        self.seed = seed
        if second_threshold:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.kernel.shape[-1] < 2:
            raise ValueError("`GShardTop2` needs at least 2 experts. Received: num_experts=1")

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, 2)[1], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = super().weigh(logits, probabilities, indices, inputs)  # (tokens, 2)
        weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        if not (inputs.training and self.second_threshold):
            return weights
        second = weights[:, 1:]
        chance = keras.random.uniform(ops.shape(second), seed=self.seed_generator)
        kept = ops.where(chance * self.second_threshold < second, second, 0.0)
        return ops.concatenate([weights[:, :1], kept], axis=-1)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        load = expert_load(
            decision.indices[:, :1], decision.weights[:, :1], decision.probabilities.shape[-1]
        )
        firsts = decision._replace(statistics={**decision.statistics, "load": load})
        return super().regularise(logits, firsts, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "second_threshold": self.second_threshold,
            "seed": self.seed,
        }
