"""A gate of k trees."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.selectors import Paths, SelectorRouter
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "comet",
    paper="Ibrahim et al. 2023, arXiv 2306.02824",
    purpose="a gate of k soft trees, for any number of experts",
)
class Comet(SelectorRouter):
    """A gate of k soft binary trees whose leaves are the experts; at most k remain chosen.

    A tree has `E - 1` splits, numbered as a heap, and leaf e the share `s_je`: the product of
    `S(z)` (left) or `1 - S(z)` (right) over the splits on its way, `z = x W`, `S` the smooth step.
    The gate is one softmax over all trees and leaves, `g_e = sum_j softmax(x V + ln s)_je`, in
    which a leaf of share 0 has no part. Once all `z` are beyond the knees at `+-gamma / 2`, each
    tree names one expert. The gate sums to 1 for every E.

    Neighbours in a tree are chosen alike, so it matters where an expert stands. With `permute`,
    each tree has a soft permutation between leaves and experts,
    `Sinkhorn((A + Gumbel noise) / temperature)`, the noise in training only. The callback
    `PermutationSearch` lowers the setting "temperature" and then puts a permutation in its place.

    Shapes hold for all times, so all E experts are in the decision, those not chosen with
    weight 0; where XLA compiles, the blocks of the dropless dispatch cost as if all were chosen.

    Losses: `selector_entropy`, the summed entropy of the trees over their leaves, mean over real
    tokens. The balance loss of `Router` may be added.

    Source: Ibrahim et al. 2023, "COMET", arXiv 2306.02824.

    Args:
        k: trees, at least 1. Default 2.
        gamma: width of the smooth step. Default 1.
        entropy_loss_weight: factor of the entropy of the trees. Default 0.01.
        permute: learn where experts stand. Default False.
        sinkhorn_iterations: normalisations of columns and rows. Default 20.
        seed: seed of the Gumbel noise.
        kernel_initializer: of `W`. Default: uniform in `+-gamma / 100`.
        **kwargs: `num_experts`, `balance_loss_weight` of `Router`.

    Example:
        >>> decision = Comet(k=2, num_experts=6)(ops.ones((3, 8)))
        >>> tuple(decision.indices.shape), round(float(ops.sum(decision.weights[0])), 4)
        ((3, 6), 1.0)
    """

    def __init__(
        self,
        k: int = 2,
        gamma: float = 1.0,
        entropy_loss_weight: float = 0.01,
        permute: bool = False,
        sinkhorn_iterations: int = 20,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(k=k, gamma=gamma, entropy_loss_weight=entropy_loss_weight, **kwargs)
        if sinkhorn_iterations < 1:
            raise ValueError(
                f"`sinkhorn_iterations` must be at least 1. Received: {sinkhorn_iterations}"
            )
        self.permute = permute
        self.sinkhorn_iterations = sinkhorn_iterations
        self.seed = seed
        if permute:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def paths(self, num_experts: int) -> tuple[Paths, int]:
        # Nodes 1 to E - 1 are splits, E to 2 E - 1 leaves; node i has the children 2 i and 2 i + 1.
        steps = []
        for leaf in range(num_experts, 2 * num_experts):
            way, node = [], leaf
            while node > 1:
                way.append((node // 2 - 1, 1 - node % 2))
                node //= 2
            steps.append(way)
        return Paths(steps), num_experts - 1

    def preferences(self, num_experts: int) -> int:
        return num_experts

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.permute:
            shape = (self.k, self.known_num_experts(), self.known_num_experts())
            self.permutation_logits = self.add_weight(
                name="permutation_logits",
                shape=shape,
                initializer=keras.initializers.RandomNormal(stddev=0.01),
            )
            self.permutation = self.add_weight(
                name="permutation", shape=shape, initializer="zeros", trainable=False
            )
            self.add_setting("temperature", 1.0)
            self.add_setting("permutation_found", 0.0)

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        leaves = self.leaf_weights(logits, inputs)  # (tokens, k, leaves)
        if not self.permute:
            return ops.sum(leaves, axis=1)
        noise: Any = 0.0
        if inputs.training:
            uniform = keras.random.uniform(
                self.permutation_logits.shape, 1e-6, 1 - 1e-6, seed=self.seed_generator
            )
            noise = -ops.log(-ops.log(uniform))
        soft = sinkhorn(
            (self.permutation_logits + noise) / self.settings["temperature"],
            self.sinkhorn_iterations,
        )
        hard = ops.convert_to_tensor(self.permutation)
        found = self.settings["permutation_found"] > 0
        return ops.einsum("nkl,kle->ne", leaves, ops.where(found, hard, soft))

    def leaf_weights(self, logits: Any, inputs: RouterInputs) -> Any:
        """`(tokens, k, leaves)`, softmax over trees and leaves of preference + ln share."""
        shares = self.selectors(logits)
        preferences = ops.reshape(self.preference(inputs), ops.shape(shares))
        # The logarithm of 0 is left out: leaves of share 0 are masked, the others multiplied.
        preferences = ops.where(shares > 0, preferences, -1e9)
        top = ops.max(preferences, axis=(1, 2), keepdims=True)
        weights = shares * ops.exp(preferences - ops.stop_gradient(top))
        total = ops.sum(weights, axis=(1, 2), keepdims=True)
        return weights / ops.maximum(total, 1e-30)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "permute": self.permute,
            "sinkhorn_iterations": self.sinkhorn_iterations,
            "seed": self.seed,
        }


def sinkhorn(logits: Any, iterations: int) -> Any:
    """Nearly doubly stochastic matrices `exp(logits)`, whose rows sum to 1 exactly.

    Columns and rows are divided by their sums in turn.

    Source: Mena et al. 2018, "Learning Latent Permutations with Gumbel-Sinkhorn Networks",
    arXiv 1802.08665.

    Args:
        logits: `(..., n, n)`.
        iterations: how often.

    Example:
        >>> matrix = sinkhorn(ops.array([[9.0, 0.0], [9.0, 1.0]]), 50)
        >>> [round(float(value), 3) for value in ops.sum(matrix, axis=0)]
        [1.0, 1.0]
    """
    for _ in range(iterations):
        logits = logits - ops.logsumexp(logits, axis=-2, keepdims=True)
        logits = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
    return ops.exp(logits)
