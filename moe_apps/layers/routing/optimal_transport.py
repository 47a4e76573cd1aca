"""Routing as sparse optimal transport between tokens and experts."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "sparse_transport",
    paper="Liu et al. 2022, arXiv 2209.15466",
    purpose="at most k experts a token, with loads evened out by optimal transport",
    batch_independent=False,
    causal=False,
)
class SparseTransport(Router):
    """Sends tokens where a transport plan with at most k experts a token sends them.

    The plan T `(tokens, experts)` of a sequence minimises
    `sum_ij -p_ij T_ij + gamma / 2 ||T||^2`, `p = softmax(x W)`: each row is not negative, sums to
    1 and has at most k entries, exactly; each column should sum to `tokens / experts`, which holds
    about. It is found by `iterations` steps of Adam on the potentials of the columns, and a pair
    with `T_ij > 0` is active, with weight `p_ij`: no gradient goes through the solver.

    A sequence, all positions of one example, is solved by itself, so that examples do not meddle
    with each other; rows without an axis of time are one sequence, and do.

    Source: Liu, Puigcerver, Blondel 2022, "Sparsity-Constrained Optimal Transport",
    arXiv 2209.15466, and its released code (the version by rows).

    Args:
        k: most experts per token, at least 1. Default 2.
        gamma: strength of the quadratic regularisation, > 0. Default 1.0.
        iterations: steps of the solver. Default 20.
        learning_rate: of the solver's Adam. Default 0.01.
        **kwargs: of `Router`.

    Padding takes no part in the transport.

    Example:
        >>> decision = SparseTransport(k=2, num_experts=4)(ops.ones((3, 5, 8)))
        >>> tuple(decision.indices.shape)
        (15, 2)
    """

    def __init__(
        self,
        k: int = 2,
        gamma: float = 1.0,
        iterations: int = 20,
        learning_rate: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("k", k), ("iterations", iterations)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}")
        for name, number in (("gamma", gamma), ("learning_rate", learning_rate)):
            if number <= 0:
                raise ValueError(f"`{name}` must be greater than 0. Received: {number}")
        self.k = k
        self.gamma = gamma
        self.iterations = iterations
        self.learning_rate = learning_rate

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.check_at_most_experts("k", self.k)

    def decide(self, logits: Any, probabilities: Any, inputs: RouterInputs) -> RoutingDecision:
        num_experts = probabilities.shape[-1]
        groups = inputs.leading[0] if len(inputs.leading) > 1 else 1
        gains = ops.stop_gradient(ops.reshape(probabilities, (groups, -1, num_experts)))
        real = ops.ones_like(gains[..., 0])
        if inputs.mask is not None:
            real = ops.cast(ops.reshape(inputs.mask, (groups, -1)), "float32")
        potentials = self._potentials(gains, real)  # (groups, experts)
        scores = (gains + potentials[:, None, :]) / self.gamma
        return super().decide(ops.reshape(scores, (-1, num_experts)), probabilities, inputs)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return sparse_simplex_projection(logits, self.k)[1]

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        plan = sparse_simplex_projection(logits, self.k)[0]  # (tokens, k)
        return ops.where(plan > 0, super().weigh(logits, probabilities, indices, inputs), 0.0)

    def _potentials(self, gains: Any, real: Any) -> Any:
        """Of the columns, `(groups, experts)`, by Adam on the semi-dual from 0."""
        num_experts = gains.shape[-1]
        fair = ops.sum(real, axis=1, keepdims=True) / num_experts  # (groups, 1)
        beta_1, beta_2 = 0.9, 0.999

        def step(count: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            potentials, mean, square = state
            scores = (gains + potentials[:, None, :]) / self.gamma
            plan, indices = sparse_simplex_projection(scores, self.k)  # (groups, time, k)
            chosen = ops.one_hot(indices, num_experts, dtype="float32")
            sums = ops.sum(chosen * (plan * real[..., None])[..., None], axis=(1, 2))
            gradient = sums - fair  # a column that gets too much becomes dearer
            mean = beta_1 * mean + (1 - beta_1) * gradient
            square = beta_2 * square + (1 - beta_2) * ops.square(gradient)
            power = ops.cast(count, "float32") + 1
            change = (mean / (1 - beta_1**power)) / (ops.sqrt(square / (1 - beta_2**power)) + 1e-8)
            return potentials - self.learning_rate * change, mean, square

        zeros = ops.zeros_like(gains[:, 0])
        potentials, _, _ = ops.fori_loop(0, self.iterations, step, (zeros, zeros, zeros))
        return ops.stop_gradient(potentials)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "gamma": self.gamma,
            "iterations": self.iterations,
            "learning_rate": self.learning_rate,
        }


def sparse_simplex_projection(scores: Any, k: int) -> tuple[Any, Any]:
    """The nearest point with at most k positive entries that sum to 1, as values and indices.

    The k largest entries are projected on the simplex: `max(score - t, 0)`, t such that the sum
    is 1.

    Args:
        scores: `(..., experts)`.
        k: most positive entries.

    Returns:
        Values `(..., k)`, largest first, and their indices `(..., k)` int32.

    Example:
        >>> values, indices = sparse_simplex_projection(ops.array([0.1, 0.9, 0.5]), 2)
        >>> [round(float(v), 2) for v in values], [int(i) for i in indices]
        ([0.7, 0.3], [1, 2])
    """
    largest, indices = ops.top_k(scores, k)
    count = ops.arange(1, k + 1, dtype="float32")
    thresholds = (ops.cumsum(largest, axis=-1) - 1) / count
    # The threshold of the longest prefix whose last entry lies above it; it is the largest one.
    threshold = ops.max(thresholds, axis=-1, keepdims=True)
    return ops.maximum(largest - threshold, 0.0), ops.cast(indices, "int32")
