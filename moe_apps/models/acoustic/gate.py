"""The routing layer of CMoE: hard assignment, and what lets the task train it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.routing import Router, RoutingDecision
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.losses import balance_loss, entropy, expert_load, masked_mean

GATES = ("switch", "hard", "soft", "straight_through")
ACTIVATIONS = ("softmax", "sigmoid", "linear")


@keras.saving.register_keras_serializable(package="moe_apps.acoustic")
class CMoEGate(Router):
    """Scores `s = activation(W r + b)`; the expert is the one with the highest score.

    What the chosen expert's output is multiplied by is the gate:

    - `hard`: 1, as in the released code of CMoE. **No gradient of the task reaches the routing
      layer**: the choice is not differentiable and the score is not in the output, so only the
      balance loss moves W, and the experts divide the inputs by chance.
    - `switch`: the score `s_e` (Fedus et al. 2021), which trains the routing layer.
    - `straight_through`: 1 in the forward pass, with the gradient of `s_e` (Bengio et al. 2013).
    - `soft`: all experts, weighted by the softmax of the scores before activation.

    Balance loss, weighted: `m sum_j f_j p_j`, f the share of examples that choose expert j and p
    its mean score. With softmax it is 1 at evenness; with `sigmoid` (the released best model) it
    also falls when all scores do; with `linear`, whose scores are unbounded, p is their softmax.

    Source: Xie et al. 2024, "Unraveling Complex Data Diversity in Underwater Acoustic Target
    Recognition through Convolution-based Mixture of Experts", arXiv 2402.11919, and its released
    code; `context` as in DEMONet (Xie et al. 2024, arXiv 2411.02758).

    Args:
        gate: see above. Default "switch".
        activation: "softmax" (default), "sigmoid" or "linear".
        context_features: width of the call's `context`, which is routed on in place of the
            input; 0 for none. Default 0.
        balance_loss_weight: Default 0.01.
        **kwargs: of `Router`.

    Example:
        >>> decision = CMoEGate("hard", num_experts=4)(keras.random.normal((3, 8)))
        >>> tuple(decision.indices.shape), [float(weight) for weight in decision.weights[:, 0]]
        ((3, 1), [1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        gate: str = "switch",
        activation: str = "softmax",
        context_features: int = 0,
        balance_loss_weight: float = 1e-2,
        **kwargs: Any,
    ) -> None:
        super().__init__(balance_loss_weight=balance_loss_weight, **kwargs)
        if gate not in GATES:
            raise ValueError(f"`gate` must be one of {', '.join(GATES)}. Received: {gate!r}")
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"`activation` must be one of {known}. Received: {activation!r}")
        self.gate, self.activation, self.context_features = gate, activation, context_features

    @property
    def k(self) -> int:
        """Experts that work on one example."""
        return self.known_num_experts() if self.gate == "soft" else 1

    def build(self, input_shape: Any) -> None:
        features = self.context_features or input_shape[-1]
        super().build((None, features))
        self.bias = self.add_weight(
            name="bias", shape=(self.known_num_experts(),), initializer="zeros"
        )

    def score(self, inputs: RouterInputs) -> Any:
        rows = inputs.tokens
        if self.context_features:
            if inputs.context is None:
                raise ValueError("This gate routes on `context`; none was given.")
            rows = ops.cast(inputs.context, "float32")
        return ops.matmul(rows, self.kernel) + self.bias

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        if self.activation == "linear":
            return logits
        return ops.sigmoid(logits) if self.activation == "sigmoid" else ops.softmax(logits)

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        if self.gate == "soft":
            return ops.cast(ops.argsort(-logits, axis=-1), "int32")
        return ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None]

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        if self.gate == "soft":
            return ops.take_along_axis(ops.softmax(logits), indices, axis=-1)
        scores = super().weigh(logits, probabilities, indices, inputs)
        if self.gate == "switch":
            return scores
        if self.gate == "straight_through":
            return 1.0 + (scores - ops.stop_gradient(scores))
        return ops.ones_like(scores)

    def decide(self, logits: Any, probabilities: Any, inputs: RouterInputs) -> RoutingDecision:
        decision = super().decide(logits, probabilities, inputs)
        # Of the first choice, under every gate; scores that are no distribution have no entropy.
        first = decision.indices[:, :1]
        counted = ops.ones_like(first, dtype="float32")
        if inputs.mask is not None:
            counted = ops.cast(inputs.mask, "float32")[:, None]
        statistics = {
            **decision.statistics,
            "load": expert_load(first, counted, self.known_num_experts()),
            "entropy": masked_mean(entropy(ops.softmax(logits)), inputs.mask),
        }
        statistics = {name: ops.stop_gradient(value) for name, value in statistics.items()}
        return decision._replace(statistics=statistics)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.balance_loss_weight and self.activation == "linear":
            # Unbounded scores would lower the loss for ever.
            losses["balance"] = self.balance_loss_weight * balance_loss(
                decision.statistics["load"], ops.softmax(logits), inputs.mask
            )
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gate": self.gate,
            "activation": self.activation,
            "context_features": self.context_features,
        }
