"""The gate of the DeepSeek models."""

from __future__ import annotations

from typing import Any, Literal

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.bias import LossFreeTopK
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "deepseek",
    paper="DeepSeek-AI 2024, arXiv 2412.19437; Dai et al. 2024, arXiv 2401.06066",
    purpose="the k best experts within the best groups of experts, for many small experts",
)
class DeepSeekGate(LossFreeTopK):
    """Sends each token to its k best experts within its best groups of experts.

    The experts stand in `groups` groups of equal size, in order; if each group lies on one
    device, a token visits at most `kept_groups` devices. A group scores the sum of its two best
    biased scores, or its best score in a router without bias; the k experts come from the
    `kept_groups` best groups. Weights are scores without bias, divided by the sum of the k if
    `renormalize`, times `route_scale`.

    Source: DeepSeek-AI 2024, "DeepSeek-V3", arXiv 2412.19437, and its released code; Dai et al.
    2024, "DeepSeekMoE", arXiv 2401.06066 (many small experts; give `MoE` the shared one as
    `shared`). V3 has 256 experts, k 8, 8 groups of which 4 are kept, and scale 2.5. The gate of
    the V2 models is `scores="softmax", renormalize=False, bias_update_rate=0`.

    Args:
        k: experts per token, at least 1. Default 2.
        groups: number of groups, a divisor of the number of experts. Default 1.
        kept_groups: groups that a token's experts may come from. Default 1.
        route_scale: factor of the weights, > 0. Default 1.0.
        scores, renormalize, bias_update_rate, recenter: see `LossFreeTopK`.
        **kwargs: `num_experts`, `balance_loss_weight`, `z_loss_weight`, `kernel_initializer` of
            `Router`.

    Example:
        >>> router = DeepSeekGate(k=2, groups=4, kept_groups=2, num_experts=16)
        >>> decision = router(ops.ones((3, 5, 8)))
        >>> tuple(decision.indices.shape), round(float(ops.sum(decision.weights)), 4)
        ((15, 2), 15.0)
    """

    def __init__(
        self,
        k: int = 2,
        groups: int = 1,
        kept_groups: int = 1,
        route_scale: float = 1.0,
        scores: Literal["sigmoid", "softmax"] = "sigmoid",
        renormalize: bool = True,
        bias_update_rate: float = 1e-3,
        recenter: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(k, scores, renormalize, bias_update_rate, recenter, **kwargs)
        if not 1 <= kept_groups <= groups:
            raise ValueError(
                "`kept_groups` must be at least 1 and at most `groups`. "
                f"Received: kept_groups={kept_groups}, groups={groups}"
            )
        if route_scale <= 0:
            raise ValueError(f"`route_scale` must be greater than 0. Received: {route_scale}")
        self.groups = groups
        self.kept_groups = kept_groups
        self.route_scale = route_scale

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        num_experts = self.kernel.shape[-1]
        if num_experts % self.groups:
            raise ValueError(f"{num_experts} experts cannot stand in {self.groups} equal groups.")
        candidates = self.kept_groups * num_experts // self.groups
        if self.k > candidates:
            raise ValueError(
                f"`k` is {self.k}, but {self.kept_groups} groups have only {candidates} experts."
            )

    def biased_scores(self, logits: Any) -> Any:
        scores = super().biased_scores(logits)
        if self.kept_groups == self.groups:
            return scores
        size = scores.shape[-1] // self.groups
        grouped = ops.reshape(scores, (-1, self.groups, size))
        counted = 1 if self.bias is None else min(2, size)
        group_scores = ops.sum(ops.top_k(grouped, counted)[0], axis=-1)  # (tokens, groups)
        best = ops.top_k(group_scores, self.kept_groups)[1]
        kept = ops.max(ops.one_hot(best, self.groups), axis=1)  # (tokens, groups)
        # Not 0: a bias may bring the scores of kept experts below it.
        return ops.where(ops.repeat(kept, size, axis=-1) > 0, scores, float("-inf"))

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        return self.route_scale * super().weigh(logits, probabilities, indices, inputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": self.groups,
            "kept_groups": self.kept_groups,
            "route_scale": self.route_scale,
        }
