"""What gates of soft binary choices have in common."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import entropy, masked_mean
from moe_apps.layers.routing.router import Router


def smooth_step(t: Any, gamma: float = 1.0) -> Any:
    """A step from 0 to 1 that reaches both: 0 up to `-gamma / 2`, 1 from `gamma / 2` on.

    Between, `-2 (t / gamma)^3 + 3 t / (2 gamma) + 1 / 2`; the derivative is continuous.

    Source: Hazimeh et al. 2020, "The Tree Ensemble Layer", arXiv 2002.07772.

    Example:
        >>> [float(value) for value in smooth_step(ops.array([-2.0, 0.0, 0.5]))]
        [0.0, 0.5, 1.0]
    """
    u = ops.clip(t / gamma, -0.5, 0.5)
    return (1.5 - 2 * u * u) * u + 0.5


class Paths:
    """The ways from a root through binary splits to the leaves, as arrays.

    Args:
        steps: of each leaf, its `(split, side)`; at a side of 1 it has the share `s` of the split,
            at a side of 0 the rest.
    """

    def __init__(self, steps: list[list[tuple[int, int]]]) -> None:
        levels, leaves = max(map(len, steps)), len(steps)
        self.split = np.zeros((levels, leaves), "int32")
        # A step's factor is `offset + slope * s`; beyond the end of a shorter way it is 1.
        self.offset = np.ones((levels, leaves), "float32")
        self.slope = np.zeros((levels, leaves), "float32")
        for leaf, way in enumerate(steps):
            for level, (split, side) in enumerate(way):
                self.split[level, leaf] = split
                self.offset[level, leaf] = 1 - side
                self.slope[level, leaf] = 2 * side - 1

    def shares(self, splits: Any) -> Any:
        """`(..., leaves)`: product along each leaf's way, of `(..., splits)` in [0, 1]."""
        shares: Any = 1.0
        for split, offset, slope in zip(self.split, self.offset, self.slope, strict=True):
            shares = shares * (offset + slope * ops.take(splits, split, axis=-1))
        return shares


class SelectorRouter(Router):
    """Routers whose gate joins k selectors, each a soft choice of one expert.

    A subclass gives `paths`, `preferences` and `distribution`, which joins the selectors. The
    decision names all experts, the largest weight first: before the selectors are certain every
    expert has a weight, afterwards at most k have one other than 0.
    """

    def __init__(
        self,
        k: int = 2,
        gamma: float = 1.0,
        entropy_loss_weight: float = 0.01,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        if gamma <= 0:
            raise ValueError(f"`gamma` must be greater than 0. Received: {gamma}")
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.RandomUniform(-gamma / 100, gamma / 100)
        super().__init__(kernel_initializer=kernel_initializer, **kwargs)
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}")
        self.k = k
        self.gamma = gamma
        self.entropy_loss_weight = entropy_loss_weight

    def paths(self, num_experts: int) -> tuple[Paths, int]:
        """The ways to the experts, and the number of splits."""
        raise NotImplementedError(f"{type(self).__name__} must define `paths`.")

    def preferences(self, num_experts: int) -> int:
        """Number of preference scores of each selector."""
        raise NotImplementedError(f"{type(self).__name__} must define `preferences`.")

    def build(self, input_shape: Any) -> None:
        num_experts, features = self.known_num_experts(), input_shape[-1]
        if num_experts < 2:
            raise ValueError(f"{type(self).__name__} needs 2 experts or more. Received: 1")
        self._paths, self.num_splits = self.paths(num_experts)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(features, self.k * self.num_splits),
            initializer=self.kernel_initializer,
        )
        self.preference_kernel = self.add_weight(
            name="preference_kernel",
            shape=(features, self.k * self.preferences(num_experts)),
            initializer="glorot_uniform",
        )
        self.built = True

    def score(self, inputs: RouterInputs) -> Any:
        """Positions of the splits `(tokens, k * splits)`; the middle is at 0."""
        return ops.matmul(inputs.tokens, self.kernel)

    def selectors(self, logits: Any) -> Any:
        """`(tokens, k, experts)`: how much each selector chooses each expert."""
        splits = ops.reshape(smooth_step(logits, self.gamma), (-1, self.k, self.num_splits))
        return self._paths.shares(splits)

    def preference(self, inputs: RouterInputs) -> Any:
        """`(tokens, k, preferences)`: how much each selector, or each of its choices, counts."""
        scores = ops.matmul(inputs.tokens, self.preference_kernel)
        return ops.reshape(scores, (-1, self.k, self.preferences(self.known_num_experts())))

    def decide(self, logits: Any, probabilities: Any, inputs: RouterInputs) -> RoutingDecision:
        # The splits' positions rank no expert; the gate does.
        return super().decide(probabilities, probabilities, inputs)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, logits.shape[-1])[1], "int32")

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.entropy_loss_weight:
            selectors = self.selectors(logits)
            uncertainty = ops.sum(entropy(selectors), axis=-1)  # (tokens,)
            losses["selector_entropy"] = self.entropy_loss_weight * masked_mean(
                uncertainty, inputs.mask
            )
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "gamma": self.gamma,
            "entropy_loss_weight": self.entropy_loss_weight,
        }
