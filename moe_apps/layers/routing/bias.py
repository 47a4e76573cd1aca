"""Balance without a loss: a bias on the selection that follows the load."""

from __future__ import annotations

from typing import Any, Literal

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import expert_counts
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "loss_free_top_k",
    paper="Wang et al. 2024, arXiv 2408.15664; Han and Zhong 2025, arXiv 2512.03915",
    purpose="the k best experts under a bias that balances the load without a loss",
)
class LossFreeTopK(Router):
    """Sends each token to the k experts with the highest score plus bias, weighted by score alone.

    `s = sigmoid(x W)` or `softmax(x W)`, `indices = top_k(s + b)`, and the weights are the chosen
    s, divided by their sum if `renormalize`. After each training step
    `b_e += rate * sign(mean(c) - c_e)`, with c_e the number of real tokens that expert e got: an
    overloaded expert becomes a little less attractive. No gradient reaches b, the weights do not
    contain it, and at inference it stays as it is. Adding a constant to b changes nothing.

    `b` is the negative price of a place with expert e in the assignment of tokens to experts of
    equal size with the largest sum of scores, and the step is one of a primal-dual method for it:
    each token that it moves goes from an overloaded expert to an underloaded one, and the loads
    settle in a band around the mean whose width follows the rate.

    Sources: Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing", arXiv 2408.15664; Han and
    Zhong 2025, arXiv 2512.03915 (theory).

    Args:
        k: experts per token, at least 1. Default 2.
        scores: "sigmoid" scores each expert by itself, "softmax" over all. Default "sigmoid".
        renormalize: divide the k weights by their sum. With one expert a token the weight is then
            always 1, and the task does not train the router. Default True.
        bias_update_rate: step of the bias, a setting that callbacks may change while training; 0
            makes a router without bias. Default 0.001.
        recenter: keep the mean of the bias at 0. Default False.
        **kwargs: `num_experts`, `balance_loss_weight`, `z_loss_weight`, `kernel_initializer` of
            `Router`.

    `probabilities` are the scores, divided by their sum over all experts.

    Example:
        >>> router = LossFreeTopK(k=1, num_experts=2, kernel_initializer="identity")
        >>> decision = router(ops.array([[2.0, 1.0], [3.0, 1.0], [4.0, 1.0]]), training=True)
        >>> [round(float(b), 4) for b in router.bias.value]
        [-0.001, 0.001]
    """

    def __init__(
        self,
        k: int = 2,
        scores: Literal["sigmoid", "softmax"] = "sigmoid",
        renormalize: bool = True,
        bias_update_rate: float = 1e-3,
        recenter: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}")
        if scores not in ("sigmoid", "softmax"):
            raise ValueError(f'`scores` must be "sigmoid" or "softmax". Received: {scores!r}')
        if bias_update_rate < 0:
            raise ValueError(
                f"`bias_update_rate` must not be negative. Received: {bias_update_rate}"
            )
        self.k = k
        self.scores = scores
        self.renormalize = renormalize
        self.bias_update_rate = bias_update_rate
        self.recenter = recenter
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        num_experts = self.kernel.shape[-1]
        self.check_at_most_experts("k", self.k)
        if self.bias_update_rate:
            self.bias = self.add_weight(
                name="bias",
                shape=(num_experts,),
                initializer="zeros",
                trainable=False,
                aggregation="mean",  # of the replicas' steps
            )
            self.add_setting("bias_update_rate", self.bias_update_rate)

    def scores_of(self, logits: Any) -> Any:
        """Scores `(tokens, experts)`, without bias."""
        if self.scores == "sigmoid":
            return ops.sigmoid(logits)
        return ops.softmax(logits, axis=-1)

    def biased_scores(self, logits: Any) -> Any:
        """Scores `(tokens, experts)` by which experts are selected."""
        scores = self.scores_of(logits)
        return scores if self.bias is None else scores + self.bias

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        return _shares(self.scores_of(logits))

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(self.biased_scores(logits), self.k)[1], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        weights = ops.take_along_axis(self.scores_of(logits), indices, axis=-1)
        return _shares(weights) if self.renormalize else weights

    def observe(self, decision: RoutingDecision, inputs: RouterInputs) -> None:
        if self.bias is None:
            return
        counts = expert_counts(decision.indices, decision.weights, decision.probabilities.shape[-1])
        # `mean(c) - c` times the number of experts: whole numbers, so that equal loads give 0.
        room = ops.sum(counts) - counts.shape[0] * counts
        bias = self.bias + self.settings["bias_update_rate"] * ops.sign(room)
        self.bias.assign(bias - ops.mean(bias) if self.recenter else bias)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "scores": self.scores,
            "renormalize": self.renormalize,
            "bias_update_rate": self.bias_update_rate,
            "recenter": self.recenter,
        }


def _shares(scores: Any) -> Any:
    """Each row divided by its sum; 0 where all scores are too small for a float."""
    return scores / ops.maximum(ops.sum(scores, axis=-1, keepdims=True), 1e-30)
