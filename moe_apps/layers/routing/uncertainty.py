"""Routing that is the flatter the less sure the router is."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "uncertainty_aware",
    paper="Zhang et al. 2023, MoFME",
    purpose="weights calibrated by how much dropout disturbs the router",
    interpretation=True,
)
class UncertaintyAware(TopK):
    """Divides the logits by what dropout on the router's input says of their spread.

    In training M passes give `z^m = dropout_m(x) W`; the logits are
    `mean_m(z^m) / sqrt(1 + var_m(z^m))`, with the unbiased variance, and top k goes on from them
    as in `TopK`. The larger the variance, the flatter the weights. Inference draws nothing: it
    takes the limit of many passes, `x W / sqrt(1 + r / (1 - r) * x^2 W^2)`, with r the dropout
    rate and elementwise squares, the exact mean and variance of a pass.

    Source: Zhang et al. 2023, "MoFME", the idea. Interpretation: in the released code nothing in
    the router is random, so that its passes are equal; dropout, the formula with the variance of
    each expert alone, and the limit at inference are ours.

    Args:
        passes: M, at least 2. Default 5.
        rate: dropout rate, in (0, 1). Default 0.1.
        **kwargs: of `TopK`; `seed` is that of the dropout, too.

    Example:
        >>> decision = UncertaintyAware(k=2, num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.indices.shape)
        (15, 2)
    """

    def __init__(self, passes: int = 5, rate: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if passes < 2:
            raise ValueError(f"`passes` must be at least 2. Received: {passes}")
        if not 0 < rate < 1:
            raise ValueError(f"`rate` must be in (0, 1). Received: {rate}")
        self.passes = passes
        self.rate = rate
        self.dropout_seed = keras.random.SeedGenerator(self.seed)

    def score(self, inputs: RouterInputs) -> Any:
        tokens = self.jittered(inputs).tokens
        if inputs.training:
            noisy = [
                keras.random.dropout(tokens, self.rate, seed=self.dropout_seed)
                for _ in range(self.passes)
            ]
            logits = ops.matmul(ops.stack(noisy), self.kernel)  # (passes, tokens, experts)
            mean = ops.mean(logits, axis=0)
            variance = ops.sum(ops.square(logits - mean), axis=0) / (self.passes - 1)
        else:
            mean, variance = ops.matmul(tokens, self.kernel), self.variance(tokens)
        return mean * ops.rsqrt(1 + variance)

    def variance(self, tokens: Any) -> Any:
        """Variance `(..., experts)` of a pass's logits over dropout: how unsure the router is.

        Args:
            tokens: `(..., features)`, what the router is given.
        """
        tokens = ops.cast(tokens, "float32")
        spread = ops.matmul(ops.square(tokens), ops.square(self.kernel))
        return self.rate / (1 - self.rate) * spread

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "passes": self.passes, "rate": self.rate}
