"""The sparse Mixture-of-Experts layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.dispatch import Dispatcher, get_dispatcher
from moe_apps.layers.experts import ExpertBank
from moe_apps.layers.routing import Router
from moe_apps.layers.routing.trackers import RoutingTracker


@keras.saving.register_keras_serializable(package="moe_apps")
class MoE(keras.layers.Layer):
    """Routes each token to a few experts and sums their weighted outputs.

    `y = sum_i weight_i * expert_i(x) + shared(x)`, the sum running over the experts that the
    router chose for the token.

    Args:
        router: a `Router`; it takes its number of experts from the bank.
        experts: an `ExpertBank`.
        shared: a layer that every token passes through, added to the sum; None for none.
        dispatch: "dropless" (default; never drops), "capacity", "dense", or a `Dispatcher`.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real tokens. Padding takes no slot, enters no loss and no
            statistic, and gets only the shared layer's output.
        state: what the router of the layer below returned, for routers that carry state.
        return_routing: also return `{"weights", "probabilities"}`, each `(..., experts)` float32;
            weights are 0 for experts that were not chosen.

    Returns:
        `y` `(..., features_out)`; with a state-carrying router or `return_routing`, a tuple
        `(y[, state][, routing])`.

    In training only, the router's losses are added and `metrics` follow load, entropy and drop
    rate (see `RoutingTracker`); inference has no side effect.

    Sources: Shazeer et al. 2017, arXiv 1701.06538; Dai et al. 2024, arXiv 2401.06066 (shared).

    Example:
        >>> from moe_apps.layers import MoE, SwiGLUExperts, TopK
        >>> layer = MoE(TopK(k=2), SwiGLUExperts(num_experts=8, hidden_dim=32))
        >>> tuple(layer(keras.random.normal((4, 10, 16))).shape)
        (4, 10, 16)
    """

    def __init__(
        self,
        router: Router | dict[str, Any],
        experts: ExpertBank | dict[str, Any],
        shared: keras.layers.Layer | dict[str, Any] | None = None,
        dispatch: str | Dispatcher | dict[str, Any] = "dropless",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.router: Router = _revive(router)
        self.experts: ExpertBank = _revive(experts)
        self.shared = _revive(shared)
        self.dispatch = get_dispatcher(dispatch)
        self.router.bind(self.experts.num_experts)
        self.tracker = RoutingTracker(self.experts.num_experts, name=self.name)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        parts: list[tuple[keras.layers.Layer, Any]] = [
            (self.router, (None, features)),
            (self.experts, (None, None, features)),
        ]
        if self.shared is not None:
            parts.append((self.shared, input_shape))
        for layer, shape in parts:
            if not layer.built:  # a part revived from its config comes built
                layer.build(shape)
        self.built = True

    def call(
        self,
        x: Any,
        mask: Any = None,
        state: Any = None,
        return_routing: bool = False,
        training: bool | None = None,
    ) -> Any:
        decision = self.router(x, mask=mask, state=state, training=training)
        tokens = ops.reshape(x, (-1, x.shape[-1]))
        outputs, drop_rate = self.dispatch(
            tokens, decision.indices, decision.weights, self.experts, training
        )
        outputs = ops.reshape(outputs, (*ops.shape(x)[:-1], outputs.shape[-1]))
        if self.shared is not None:
            outputs = outputs + self.shared(x)
        if training:
            for loss in decision.losses.values():
                self.add_loss(loss)
            self.tracker.update_state(
                decision.statistics["load"], decision.statistics["entropy"], drop_rate
            )
        extras: tuple[Any, ...] = () if decision.state is None else (decision.state,)
        if return_routing:
            extras += (self._routing(decision, ops.shape(x)[:-1]),)
        return (outputs, *extras) if extras else outputs

    def _routing(self, decision: Any, leading: Any) -> dict[str, Any]:
        """Weights and probabilities per token over all experts, in the input's leading shape."""
        chosen = ops.one_hot(decision.indices, self.experts.num_experts, dtype="float32")
        weights = ops.sum(chosen * decision.weights[..., None], axis=-2)
        shape = (*leading, self.experts.num_experts)
        return {
            "weights": ops.reshape(weights, shape),
            "probabilities": ops.reshape(decision.probabilities, shape),
        }

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "router": serialize(self.router),
            "experts": serialize(self.experts),
            "shared": serialize(self.shared) if self.shared is not None else None,
            "dispatch": serialize(self.dispatch),
        }


def _revive(part: Any) -> Any:
    """The layer of a serialised part, or the part itself."""
    return keras.saving.deserialize_keras_object(part) if isinstance(part, dict) else part
