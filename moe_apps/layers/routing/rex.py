"""Routing among the experts of several layers."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "rex",
    paper="Tan et al. 2025, arXiv 2510.17483",
    purpose="adjacent layers share their experts; the pool of candidates grows in training",
    interpretation=True,
)
class ReX(TopK):
    """Top-k routing over the experts of a group of layers, own experts first.

    A group of r layers shares one bank of `r N` experts, of which layer j owns the experts from
    `j N` on. Give the same bank to all:

        bank = SwiGLUExperts(num_experts=2 * 8, hidden_dim=512)
        for position in range(2):
            x = x + MoE(ReX(position, group_size=2), bank)(x)

    Only routers grow with r. A `.keras` file keeps the bank shared and its weights once;
    `keras.models.clone_model` does not.

    The setting "pool" is the number of candidates: own experts, then those of the following
    layers of the group, round to the layer before. Others cannot be chosen and have probability 0;
    own experts always can. Raise it with `ScheduledSetting("pool", ...)`: the source has N until
    step 10000 and r N from step 30000 on, linear between.

    Interpretation: the source, of which no code is public, masks candidates while the pool grows;
    that this happens before the softmax, and in which order remote experts join, is our choice.

    Source: Tan et al. 2025, "ReXMoE", arXiv 2510.17483.

    Args:
        position: place of this layer in its group, from 0. Default 0.
        group_size: r, the layers of the group; it must divide the number of experts. Default 2.
        pool: initial value of the setting. Default None: all experts.
        **kwargs: arguments of `TopK`; k at most N.

    Example:
        >>> router = ReX(position=1, group_size=2, pool=3, num_experts=6)
        >>> probabilities = router(ops.ones((1, 8))).probabilities[0]
        >>> [expert for expert in range(6) if probabilities[expert] > 0]
        [3, 4, 5]
    """

    def __init__(
        self, position: int = 0, group_size: int = 2, pool: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= position < group_size:
            raise ValueError(
                f"`position` must be in [0, group_size). Received: position={position}, "
                f"group_size={group_size}"
            )
        self.position = position
        self.group_size = group_size
        self.pool = pool

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        num_experts = self.known_num_experts()
        if num_experts % self.group_size:
            raise ValueError(
                f"`group_size` must divide the number of experts. Received: {self.group_size} "
                f"for {num_experts} experts"
            )
        self.own = num_experts // self.group_size
        if self.k > self.own:
            raise ValueError(f"`k` is {self.k}, but a layer owns only {self.own} experts.")
        self.add_setting("pool", num_experts if self.pool is None else self.pool)

    def adjust(self, logits: Any, inputs: RouterInputs) -> Any:
        # The columns of the score matrix are own experts first; the bank has its own order.
        column = ops.arange(logits.shape[-1], dtype="float32")
        candidate = column < ops.maximum(self.settings["pool"], self.own)
        return ops.roll(ops.where(candidate, logits, -1e9), self.position * self.own, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "position": self.position,
            "group_size": self.group_size,
            "pool": self.pool,
        }
