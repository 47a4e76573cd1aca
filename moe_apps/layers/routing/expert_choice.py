"""Expert-choice routing."""

from __future__ import annotations

from typing import Any, Literal

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.dispatch.capacity import Capacity
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "expert_choice",
    paper="Zhou et al. 2022, arXiv 2202.09368",
    purpose="each expert takes its best tokens: perfect balance, experts per token vary",
    causal=False,
)
class ExpertChoice(Router):
    """Lets each expert take the C tokens of a group that it has the highest probability for.

    `p = softmax(x W)` over experts, 0 for padding; expert e takes the C largest of column
    `p[:, e]` and weighs them by it. `C = ceil(capacity_factor * tokens / experts)` with the tokens
    of a group, padding counted. All experts have the same load, so no balance loss is needed; a
    token may be taken by several experts, or by none, and then gets 0: put the layer inside a
    residual connection. Whether a token is taken depends on later tokens, so it is no router for
    decoders.

    Source: Zhou et al. 2022, "Mixture-of-Experts with Expert Choice Routing", arXiv 2202.09368.
    Released codes round C to the nearest number; here it is rounded up, as in `Capacity`.

    Args:
        capacity_factor: mean number of experts per token, > 0. Default 2.0.
        group: "example" has tokens compete with those of their own example, so that its output
            does not depend on the others of the batch; the input must be
            `(batch, ..., features)`. "batch" has all tokens of the batch compete, and one's
            output then depends on the whole batch. Default "example".
        **kwargs: `num_experts`, `z_loss_weight`, `kernel_initializer` of `Router`.

    Example:
        >>> decision = ExpertChoice(capacity_factor=1.0, num_experts=4)(ops.ones((3, 8, 5)))
        >>> tuple(decision.indices.shape)  # two tokens of each of three examples
        (4, 6)
    """

    def __init__(
        self,
        capacity_factor: float = 2.0,
        group: Literal["example", "batch"] = "example",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if capacity_factor <= 0:
            raise ValueError(
                f"`capacity_factor` must be greater than 0. Received: {capacity_factor}"
            )
        if group not in ("example", "batch"):
            raise ValueError(f'`group` must be "example" or "batch". Received: {group!r}')
        self.capacity_factor = capacity_factor
        self.group = group

    def decide(self, logits: Any, probabilities: Any, inputs: RouterInputs) -> RoutingDecision:
        num_experts = probabilities.shape[-1]
        candidates = probabilities
        if inputs.mask is not None:
            candidates = ops.where(inputs.mask[:, None], candidates, 0.0)
        # (groups, tokens of a group, experts)
        grouped = candidates[None] if self.group == "batch" else inputs.by_example(candidates)
        groups, size = ops.shape(grouped)[:2]
        slots = Capacity(self.capacity_factor).slots(size, 1, num_experts, training=True)
        # (groups, experts, slots); padding that is taken for want of tokens has weight 0
        weights, position = ops.top_k(ops.transpose(grouped, (0, 2, 1)), slots)
        first = ops.arange(groups, dtype="int32")[:, None, None] * size
        indices = first + ops.cast(position, "int32")
        decision = RoutingDecision(
            indices=_by_expert(indices),
            weights=_by_expert(weights),
            probabilities=probabilities,
            losses={},
            statistics={},
            kind="expert",
        )
        taken = ops.cast(ops.not_equal(decision.weight_of_expert(), 0), "float32")
        count = ops.sum(taken, axis=0)  # (experts,)
        statistics = self.statistics(
            probabilities,
            load=count / ops.maximum(ops.sum(count), 1.0),
            active=ops.sum(taken, axis=-1),
            inputs=inputs,
        )
        return decision._replace(statistics=statistics)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "capacity_factor": self.capacity_factor,
            "group": self.group,
        }


def _by_expert(values: Any) -> Any:
    """`(groups, experts, slots)` -> `(experts, groups * slots)`."""
    return ops.reshape(ops.transpose(values, (1, 0, 2)), (values.shape[1], -1))
