"""Random experts without a router, held together by a consistency loss."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.losses import masked_mean
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "thor",
    paper="Zuo et al. 2021, arXiv 2110.04260",
    purpose="random experts and no router, trained to agree",
)
class Thor(Router):
    """Sends each training call to one random expert, and each position at inference to a fixed one.

    There is no score matrix, and all weights are 1. In training, one expert drawn anew at each
    call serves all tokens; run the model twice on a batch and add
    `consistency_loss(logits_1, logits_2)` so that the experts come to agree.

    At inference the source draws an expert for each token; here it depends on `seed` and the
    token's position in its example alone, so that equal inputs have equal outputs, and a batch
    changes nothing. Over the positions, all experts serve equally often. An input without
    positions, `(batch, features)`, is served by one expert.

    Source: Zuo et al. 2021, "Taming Sparsely Activated Transformer with Stochastic Experts",
    arXiv 2110.04260.

    Args:
        seed: seed of the training draws, and of the order of experts at inference. Default 0.
        **kwargs: `num_experts` of `Router`; its other arguments have nothing to work on.

    Example:
        >>> decision = Thor(num_experts=4)(ops.ones((2, 4, 8)))
        >>> sorted(int(expert) for expert in decision.indices[:4, 0])  # the first example
        [0, 1, 2, 3]
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        self.known_num_experts()
        self.built = True

    def score(self, inputs: RouterInputs) -> Any:
        return ops.zeros((ops.shape(inputs.tokens)[0], self.known_num_experts()))

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        num_experts, num_tokens = logits.shape[-1], ops.shape(logits)[0]
        if inputs.training:
            expert = keras.random.randint((1, 1), 0, num_experts, seed=self.seed_generator)
            return ops.broadcast_to(ops.cast(expert, "int32"), (num_tokens, 1))
        positions: Any = 1
        for extent in inputs.leading[1:]:
            positions = positions * extent
        position = ops.mod(ops.arange(num_tokens, dtype="int32"), positions)
        # All experts in random order, and again in another one, 64 times.
        draw = np.random.default_rng(self.seed)
        order = np.concatenate([draw.permutation(num_experts) for _ in range(64)])
        return ops.take(order.astype("int32"), ops.mod(position, len(order)))[:, None]

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        return ops.ones(ops.shape(indices))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


def consistency_loss(p_logits: Any, q_logits: Any, mask: Any = None) -> Any:
    """How far two predictions are apart: `(KL(p | q) + KL(q | p)) / 2`, mean over real positions.

    That is `sum (p - q) (ln p - ln q) / 2`, with softmax probabilities. The source adds it to the
    two task losses with factor 5 in its translation script, summed instead of averaged.

    Source: Zuo et al. 2021, arXiv 2110.04260.

    Args:
        p_logits: `(..., classes)`.
        q_logits: `(..., classes)`.
        mask: boolean `(...)`, true for real positions; None means all.

    Example:
        >>> logits = ops.array([[1.0, 2.0]])
        >>> float(consistency_loss(logits, logits))
        0.0
    """
    classes = p_logits.shape[-1]
    first, second = (
        ops.log_softmax(ops.cast(ops.reshape(logits, (-1, classes)), "float32"), axis=-1)
        for logits in (p_logits, q_logits)
    )
    distance = ops.sum((ops.exp(first) - ops.exp(second)) * (first - second), axis=-1) / 2
    return masked_mean(distance, None if mask is None else ops.reshape(mask, (-1,)))
