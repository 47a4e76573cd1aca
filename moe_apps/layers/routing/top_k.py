"""Top-k routing."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.jitter import jittered
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "top_k",
    paper="Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2021, arXiv 2101.03961",
    purpose="the k best experts of each token",
)
class TopK(Router):
    """Sends each token to the k experts with the highest scores.

    `logits = x W`, `indices = top_k(logits)`, and the weight of a chosen expert is its softmax
    probability. With one expert a token, keep `softmax="all"` without `renormalize`: a weight
    that is always 1 gives the router no gradient from the task.

    Sources: Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2021, "Switch Transformers",
    arXiv 2101.03961 (k = 1, input jitter); Jiang et al. 2024, "Mixtral", arXiv 2401.04088
    (softmax over the chosen); Shi et al. 2024, "Time-MoE", arXiv 2409.16040 (softmax over all,
    not renormalised).

    Args:
        k: experts per token, at least 1. Default 2.
        softmax: "all" takes the softmax over every expert, "chosen" over the k chosen ones.
        renormalize: divide the k weights by their sum. Default False.
        jitter: in training, multiply the inputs by noise uniform in `[1 - jitter, 1 + jitter]`.
        seed: seed of the jitter.
        **kwargs: `num_experts`, `balance_loss_weight`, `z_loss_weight`, `kernel_initializer`
            of `Router`.

    Example:
        >>> decision = TopK(k=2, num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.indices.shape), tuple(decision.probabilities.shape)
        ((15, 2), (15, 4))
    """

    def __init__(
        self,
        k: int = 2,
        softmax: Literal["all", "chosen"] = "all",
        renormalize: bool = False,
        jitter: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}")
        if softmax not in ("all", "chosen"):
            raise ValueError(f'`softmax` must be "all" or "chosen". Received: {softmax!r}')
        if not 0 <= jitter < 1:
            raise ValueError(f"`jitter` must be in [0, 1). Received: {jitter}")
        self.k = k
        self.softmax = softmax
        self.renormalize = renormalize
        self.jitter = jitter
        self.seed = seed
        if jitter:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.check_at_most_experts("k", self.k)

    def score(self, inputs: RouterInputs) -> Any:
        return super().score(self.jittered(inputs))

    def jittered(self, inputs: RouterInputs) -> RouterInputs:
        """The inputs with the noise of a training step, for `score`."""
        if inputs.training and self.jitter:
            tokens = jittered(inputs.tokens, self.jitter, self.seed_generator)
            inputs = inputs._replace(tokens=tokens)
        return inputs

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, self.k)[1], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        if self.softmax == "chosen":
            weights = ops.softmax(ops.take_along_axis(logits, indices, axis=-1), axis=-1)
        else:
            weights = super().weigh(logits, probabilities, indices, inputs)
        if self.renormalize:
            weights = weights / ops.sum(weights, axis=-1, keepdims=True)
        return weights

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "softmax": self.softmax,
            "renormalize": self.renormalize,
            "jitter": self.jitter,
            "seed": self.seed,
        }
