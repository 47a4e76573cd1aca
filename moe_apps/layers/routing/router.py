"""The router contract: advance, score, adjust, select, weigh, regularise."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import (
    balance_loss,
    entropy,
    expert_load,
    masked_mean,
    z_loss,
)


class Router(keras.layers.Layer):
    """Decides for each token which experts it goes to; a subclass overrides one or two steps.

    The steps are `advance` (state carried from layer to layer), `score` (token features to
    logits), `adjust` (noise, bias or masks on the logits), `distribution` (logits to
    probabilities), `decide` (which is `select`, the expert indices, and `weigh`, the weight of
    each), `regularise` (auxiliary losses) and `observe` (weights that follow the routing). Each
    gets the `RouterInputs`. All arithmetic is float32 under every dtype policy, because a
    half-precision softmax picks other experts than a float32 one.

    Args:
        num_experts: number of experts; None lets the `MoE` layer set it from its expert bank.
        balance_loss_weight: factor of the load-balance loss; 0 leaves it out.
        z_loss_weight: factor of the router z-loss; 0 leaves it out.
        kernel_initializer: initializer of the score matrix `(features, experts)`.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real tokens. Padding has weight 0 and enters no loss or
            statistic.
        state: what the router of the layer below returned, for routers that carry state.
        context: for routers that look at more than `x`, as they say.

    Returns:
        `RoutingDecision`.
    """

    trainable_kernel = True
    """Whether the optimizer trains the score matrix; a class attribute."""

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
        self.settings: dict[str, Any] = {}

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

    def attach(self, experts: Any) -> None:
        """Look at the bank that this router serves, for routers that score by its weights.

        `MoE` calls it after `bind`. Nothing here. A router must not keep the bank itself as an
        attribute, or Keras would count its weights twice.
        """

    def known_num_experts(self) -> int:
        """The number of experts, or a ValueError that says how to give it."""
        if self.num_experts is None:
            raise ValueError(
                f"Router {self.name!r} does not know its number of experts: give `num_experts`, "
                "or use it in `MoE`, which takes it from the expert bank."
            )
        return self.num_experts

    def check_at_most_experts(self, name: str, value: int) -> None:
        """Raise a ValueError where the argument `name` asks for more experts than there are."""
        if value > self.known_num_experts():
            raise ValueError(f"`{name}` is {value}, but there are only {self.num_experts} experts.")

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.known_num_experts()),
            initializer=self.kernel_initializer,
            trainable=self.trainable_kernel,
        )
        self.built = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """None: a decision has no mask. Keras would attach it to one field, even to a None."""
        return None

    def add_setting(self, name: str, value: float) -> Any:
        """Add a scalar that callbacks may change while a compiled step runs.

        A Python number would be frozen into the compiled step; this is a non-trainable float32
        weight, saved with the model.

        Args:
            name: key in `settings`.
            value: initial value.
        """
        setting = self.add_weight(
            name=name, shape=(), initializer=keras.initializers.Constant(value), trainable=False
        )
        self.settings[name] = setting
        return setting

    def call(
        self,
        x: Any,
        mask: Any = None,
        state: Any = None,
        context: Any = None,
        training: bool | None = None,
    ) -> RoutingDecision:
        inputs = RouterInputs(
            tokens=ops.reshape(x, (-1, x.shape[-1])),
            mask=None if mask is None else ops.reshape(ops.cast(mask, "bool"), (-1,)),
            leading=tuple(ops.shape(x)[:-1]),
            state=state,
            context=context,
            training=training,
        )
        inputs = inputs._replace(state=self.advance(inputs))
        logits = self.adjust(self.score(inputs), inputs)  # (tokens, experts)
        probabilities = self.distribution(logits, inputs)  # (tokens, experts)
        decision = self.decide(logits, probabilities, inputs)
        decision = decision._replace(
            losses=self.regularise(logits, decision, inputs), state=inputs.state
        )
        if training:
            self.observe(decision, inputs)
        return decision

    # === Steps ===

    def advance(self, inputs: RouterInputs) -> Any:
        """The state for this router and the next one's; that of the layer below here."""
        return inputs.state

    def score(self, inputs: RouterInputs) -> Any:
        """Logits `(tokens, experts)`: `tokens W` here."""
        return ops.matmul(inputs.tokens, self.kernel)

    def adjust(self, logits: Any, inputs: RouterInputs) -> Any:
        """Logits after noise, bias or masks; unchanged here."""
        return logits

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        """Probabilities `(tokens, experts)` for weights, losses and statistics: softmax here."""
        return ops.softmax(logits, axis=-1)

    def decide(self, logits: Any, probabilities: Any, inputs: RouterInputs) -> RoutingDecision:
        """The decision without losses: select, weigh, and leave out padding."""
        indices = self.select(logits, inputs)  # (tokens, k)
        weights = self.weigh(logits, probabilities, indices, inputs)  # (tokens, k)
        if inputs.mask is not None:
            weights = ops.where(inputs.mask[:, None], weights, 0.0)
        return RoutingDecision(
            indices=indices,
            weights=weights,
            probabilities=probabilities,
            losses={},
            statistics=self.statistics(
                probabilities,
                load=expert_load(indices, weights, probabilities.shape[-1]),
                active=ops.sum(ops.cast(ops.not_equal(weights, 0), "float32"), axis=-1),
                inputs=inputs,
            ),
        )

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        """Indices `(tokens, k)` int32 of the chosen experts, best first."""
        raise NotImplementedError(f"{type(self).__name__} must define `select`.")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        """Weights `(tokens, k)` of the chosen experts: their probabilities here."""
        return ops.take_along_axis(probabilities, indices, axis=-1)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        """Weighted auxiliary losses by name."""
        losses = {}
        if self.balance_loss_weight:
            losses["balance"] = self.balance_loss_weight * balance_loss(
                decision.statistics["load"], decision.probabilities, inputs.mask
            )
        if self.z_loss_weight:
            losses["z"] = self.z_loss_weight * z_loss(logits, inputs.mask)
        return losses

    def observe(self, decision: RoutingDecision, inputs: RouterInputs) -> None:
        """Update weights that follow the routing, in training only; nothing here.

        Runs in the forward pass, as the moving averages of a batch normalisation do, so it
        needs no callback and works under XLA and on JAX.
        """

    def statistics(
        self, probabilities: Any, load: Any, active: Any, inputs: RouterInputs
    ) -> dict[str, Any]:
        """Statistics of a decision over real tokens, without gradient.

        Args:
            probabilities: `(tokens, experts)`.
            load: `(experts,)` share of active pairs.
            active: `(tokens,)` number of active experts.
            inputs: what the router was given.
        """
        statistics = {
            "load": load,
            "entropy": masked_mean(entropy(probabilities), inputs.mask),
            "active_experts": masked_mean(active, inputs.mask),
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
