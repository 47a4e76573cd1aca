"""The router contract: score, adjust, select, weigh, regularise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.routing.decision import RoutingDecision
from moe_apps.layers.routing.losses import balance_loss, expert_load, masked_mean, z_loss


class Router(keras.layers.Layer):
    """Decides for each token which experts it goes to; a subclass overrides one or two steps.

    The steps are `score` (token features to logits), `adjust` (noise, bias or masks on the
    logits, in training), `select` (expert indices), `weigh` (the weight of each chosen expert)
    and `regularise` (auxiliary losses). All arithmetic is float32 under every dtype policy,
    because a half-precision softmax picks other experts than a float32 one.

    Args:
        num_experts: number of experts; None lets the `MoE` layer set it from its expert bank.
        balance_loss_weight: factor of the load-balance loss; 0 leaves it out.
        z_loss_weight: factor of the router z-loss; 0 leaves it out.
        kernel_initializer: initializer of the score matrix `(features, experts)`.

    Input: `(..., features)`, and an optional boolean mask `(...)`, true for real tokens.
    Output: `RoutingDecision`. Padded tokens have weight 0 and enter no loss or statistic.
    """

    def __init__(
        self,
        num_experts: int | None = None,
        balance_loss_weight: float = 0.0,
        z_loss_weight: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_experts = num_experts
        self.balance_loss_weight = balance_loss_weight
        self.z_loss_weight = z_loss_weight
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def bind(self, num_experts: int) -> None:
        """Take the number of experts from the bank that this router serves.

        Raises:
            ValueError: when the router was made for another number.
        """
        if self.num_experts not in (None, num_experts):
            raise ValueError(
                f"Router {self.name!r} is made for {self.num_experts} experts, "
                f"but its expert bank has {num_experts}."
            )
        self.num_experts = num_experts

    def build(self, input_shape: Any) -> None:
        if self.num_experts is None:
            raise ValueError(
                f"Router {self.name!r} does not know its number of experts: give `num_experts`, "
                "or use it in `MoE`, which takes it from the expert bank."
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.num_experts),
            initializer=self.kernel_initializer,
        )
        self.built = True

    def call(
        self, x: Any, mask: Any = None, state: Any = None, training: bool | None = None
    ) -> RoutingDecision:
        tokens = ops.reshape(x, (-1, x.shape[-1]))  # (tokens, features)
        valid = None if mask is None else ops.reshape(ops.cast(mask, "bool"), (-1,))
        logits = self.score(tokens, training)  # (tokens, experts)
        logits = self.adjust(logits, training)
        probabilities = ops.softmax(logits, axis=-1)
        indices = self.select(logits)  # (tokens, k)
        weights = self.weigh(logits, probabilities, indices)  # (tokens, k)
        if valid is not None:
            weights = ops.where(valid[:, None], weights, 0.0)
        load = expert_load(indices, weights, probabilities.shape[-1])
        return RoutingDecision(
            indices=indices,
            weights=weights,
            probabilities=probabilities,
            losses=self.regularise(logits, probabilities, load, valid),
            statistics=self.statistics(weights, probabilities, load, valid),
            state=state,
        )

    def score(self, tokens: Any, training: bool | None) -> Any:
        """Logits `(tokens, experts)` of the tokens' features `(tokens, features)`."""
        return ops.matmul(tokens, self.kernel)

    def adjust(self, logits: Any, training: bool | None) -> Any:
        """Logits after noise, bias or masks; unchanged here."""
        return logits

    def select(self, logits: Any) -> Any:
        """Indices `(tokens, k)` of the chosen experts, best first."""
        raise NotImplementedError(f"{type(self).__name__} must define `select`.")

    def weigh(self, logits: Any, probabilities: Any, indices: Any) -> Any:
        """Weights `(tokens, k)` of the chosen experts: their probabilities here."""
        return ops.take_along_axis(probabilities, indices, axis=-1)

    def regularise(self, logits: Any, probabilities: Any, load: Any, mask: Any) -> dict[str, Any]:
        """Weighted auxiliary losses by name."""
        losses = {}
        if self.balance_loss_weight:
            losses["balance"] = self.balance_loss_weight * balance_loss(load, probabilities, mask)
        if self.z_loss_weight:
            losses["z"] = self.z_loss_weight * z_loss(logits, mask)
        return losses

    def statistics(self, weights: Any, probabilities: Any, load: Any, mask: Any) -> dict[str, Any]:
        """Load per expert, router entropy in nats, active experts per token (real tokens only)."""
        # xlogy(p, p) with a floor: a probability of 0 adds nothing to the entropy.
        log_probabilities = ops.log(ops.maximum(probabilities, 1e-30))
        entropy = -ops.sum(probabilities * log_probabilities, axis=-1)
        active = ops.sum(ops.cast(ops.not_equal(weights, 0), "float32"), axis=-1)
        statistics = {
            "load": load,
            "entropy": masked_mean(entropy, mask),
            "active_experts": masked_mean(active, mask),
        }
        return {name: ops.stop_gradient(value) for name, value in statistics.items()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype", None)  # always float32
        return {
            **config,
            "num_experts": self.num_experts,
            "balance_loss_weight": self.balance_loss_weight,
            "z_loss_weight": self.z_loss_weight,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
