"""Routing to the nearest of centres that follow the data."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "nearest_centre",
    paper="Li et al. 2022, arXiv 2211.12105 (AdaptDHM)",
    purpose="clusters of rows, found by moving averages and not by gradients",
    interpretation=True,
)
class NearestCentre(Router):
    """Sends each token to the cluster whose centre has the largest product with it, unweighted.

    `r = softmax(x c)`, with centres c of unit length that no gradient trains. A training step
    first moves them, `rounds` times: `c_k <- normalise(momentum c_k + (1 - momentum) v_k)`, with
    `v_k = sum_n r_nk x_n / sum_n r_nk` over the real tokens; then it assigns. A cluster that has
    had less than `min_share` of the tokens, by a moving average, restarts at a token that is far
    from all centres. No gradient reaches the tokens through the routing.

    Source: Li et al. 2022, "AdaptDHM", arXiv 2211.12105. Interpretation: released code adds the
    sum of the rows where we take their mean, which does not grow with the batch, and says nothing
    of clusters that stay empty.

    Args:
        momentum: share of the old centre in a round, in [0, 1). Default 0.9.
        rounds: rounds a training step. Default 3.
        min_share: share of the tokens below which a cluster restarts. Default 0.01.
        **kwargs: of `Router`; `kernel_initializer` is that of the centres, before they are
            brought to unit length.

    In training the centres are updated; padding does not enter. Adds the losses of `Router`,
    which have no gradient here.

    Example:
        >>> decision = NearestCentre(num_experts=3)(keras.random.normal((5, 8)))
        >>> tuple(decision.indices.shape), float(decision.weights[0, 0])
        ((5, 1), 1.0)
    """

    trainable_kernel = False

    def __init__(
        self, momentum: float = 0.9, rounds: int = 3, min_share: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: {momentum}")
        if rounds < 1:
            raise ValueError(f"`rounds` must be at least 1. Received: {rounds}")
        if not 0 <= min_share < 1:
            raise ValueError(f"`min_share` must be in [0, 1). Received: {min_share}")
        self.momentum = momentum
        self.rounds = rounds
        self.min_share = min_share

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        num_experts = self.kernel.shape[-1]
        self.share = self.add_weight(
            name="share",
            shape=(num_experts,),
            initializer=keras.initializers.Constant(1 / num_experts),
            trainable=False,
        )

    def score(self, inputs: RouterInputs) -> Any:
        tokens = ops.stop_gradient(inputs.tokens)
        # The columns of the kernel are the centres.
        centres = ops.normalize(ops.convert_to_tensor(self.kernel), axis=0)  # (features, experts)
        if inputs.training:
            for _ in range(self.rounds):
                centres = self._moved(centres, tokens, inputs.mask)
            centres = self._restarted(centres, tokens, inputs.mask)
            self.kernel.assign(centres)  # not in `observe`: the new centres assign this batch
        return ops.matmul(tokens, centres)

    def _moved(self, centres: Any, tokens: Any, mask: Any) -> Any:
        shares = ops.softmax(ops.matmul(tokens, centres), axis=-1)  # (tokens, experts)
        if mask is not None:
            shares = shares * ops.cast(mask, "float32")[:, None]
        total = ops.sum(shares, axis=0)
        means = ops.matmul(ops.transpose(tokens), shares) / ops.maximum(total, 1e-12)
        moved = self.momentum * centres + (1 - self.momentum) * means
        return ops.normalize(ops.where(total > 0, moved, centres), axis=0)

    def _restarted(self, centres: Any, tokens: Any, mask: Any) -> Any:
        """Centres where the most deserted one, if it is below `min_share`, lies on a far token."""
        directions = ops.normalize(tokens, axis=-1)
        cosine = ops.max(ops.matmul(directions, centres), axis=-1)  # (tokens,), to the nearest
        if mask is not None:
            cosine = ops.where(mask, cosine, 2.0)  # padding is never far
        farthest = ops.take(directions, ops.argmin(cosine), axis=0)
        share = ops.convert_to_tensor(self.share)
        least = ops.equal(ops.arange(share.shape[0]), ops.cast(ops.argmin(share), "int32"))
        restarts = least & (share < self.min_share) & (ops.min(cosine) < 1.5)
        self.share.assign(ops.where(restarts, 1 / share.shape[0], share))
        return ops.where(restarts[None, :], farthest[:, None], centres)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        return ops.ones_like(super().weigh(logits, probabilities, indices, inputs))

    def observe(self, decision: RoutingDecision, inputs: RouterInputs) -> None:
        load = decision.statistics["load"]
        self.share.assign(0.9 * self.share + 0.1 * load)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "rounds": self.rounds,
            "min_share": self.min_share,
        }
