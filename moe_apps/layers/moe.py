"""The sparse Mixture-of-Experts layer."""

from __future__ import annotations

import inspect
import math
from typing import Any, Literal

import keras
from keras import ops

from moe_apps.layers.dispatch import Capacity, Dispatcher, get_dispatcher
from moe_apps.layers.dispatch.assigned import run_chosen_tokens, run_mixed_slots
from moe_apps.layers.dispatch.extra_groups import ExtraGroups
from moe_apps.layers.experts import ExpertBank
from moe_apps.layers.routing import Router, RoutingDecision
from moe_apps.layers.routing.trackers import RoutingTracker
from moe_apps.layers.serialization import revive, serialize_part


@keras.saving.register_keras_serializable(package="moe_apps")
class MoE(keras.layers.Layer):
    """Routes each token to a few experts and sums their weighted outputs.

    `y = sum_i weight_i * expert_i(x) + shared(x)`, the sum running over the experts that the
    router chose for the token.

    Args:
        router: a `Router`; it takes its number of experts from the bank.
        experts: an `ExpertBank`.
        shared: a layer that every token passes through, added to the sum; None for none.
        dispatch: "dropless" (default; never drops), "capacity", "dense", or a `Dispatcher`. It
            serves routers by which tokens choose experts; where experts choose tokens, or slots
            mix them, the router has said all.
        level: "token" routes each position of `x` by its features. "sample" routes each example
            as a whole by the mean of its features over all positions, and an expert gets the
            whole example, `(..., *positions, features)`: for banks of convolutions.

    Call arguments:
        x: `(..., features)`; at level "sample" `(batch, *positions, features)`.
        mask: boolean `(...)`, true for real tokens; at level "sample" `(batch,)`, true for real
            examples. Padding takes no slot, enters no loss and no statistic, and gets only the
            shared layer's output.
        state: what the router of the layer below returned, for routers that carry state.
        context: what the router looks at besides `x`, for routers that say so.
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
        level: Literal["token", "sample"] = "token",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if level not in ("token", "sample"):
            raise ValueError(f'`level` must be "token" or "sample". Received: {level!r}')
        self.supports_masking = True
        self.router: Router = revive(router)
        self.experts: ExpertBank = revive(experts)
        self.shared = revive(shared)
        self._shared_takes_mask = self.shared is not None and (
            "mask" in inspect.signature(self.shared.call).parameters
        )
        self.dispatch = get_dispatcher(dispatch)
        self.level = level
        self.settings: dict[str, Any] = {}
        self.router.bind(self.experts.num_experts)
        self.router.attach(self.experts)
        self.tracker = RoutingTracker(self.experts.num_experts, name=self.name)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        positions = tuple(input_shape[1:-1]) if self.level == "sample" else ()
        if None in positions:
            raise ValueError(
                f'At level "sample" all axes but the batch must be known. Received: {input_shape}'
            )
        if positions and not self.experts.whole_samples:
            kind = type(self.experts).__name__
            raise ValueError(f'{kind} take single tokens: use level="token".')
        parts: list[tuple[keras.layers.Layer, Any]] = [
            (self.router, (None, features)),
            (self.experts, (None, None, *positions, features)),
        ]
        if self.shared is not None:
            parts.append((self.shared, input_shape))
        for layer, shape in parts:
            if not layer.built:  # a part revived from its config comes built
                layer.build(shape)
        if isinstance(self.dispatch, Capacity) and self.dispatch.scheduled:
            self.settings["capacity"] = self.add_weight(
                name="capacity",
                shape=(),
                initializer=keras.initializers.Constant(self.dispatch.factor),
                dtype="float32",
                trainable=False,
                autocast=False,  # read as it is under every policy
            )
        self.built = True

    def call(
        self,
        x: Any,
        mask: Any = None,
        state: Any = None,
        context: Any = None,
        return_routing: bool = False,
        training: bool | None = None,
    ) -> Any:
        whole = self.level == "sample"
        if whole and mask is not None and len(mask.shape) != 1:
            raise ValueError(
                f'At level "sample" `mask` must be `(batch,)`. Received: {tuple(mask.shape)}'
            )
        routed = ops.mean(x, axis=tuple(range(1, len(x.shape) - 1))) if whole else x
        decision = self.router(routed, mask=mask, state=state, context=context, training=training)
        outputs, drop_rate = self._run_experts(x, decision, training)
        if self.shared is not None:
            # A shared layer that mixes positions must know which of them are padding.
            known = {"mask": mask} if self._shared_takes_mask and self.level == "token" else {}
            outputs = outputs + self.shared(x, **known)
        if training:
            for loss in decision.losses.values():
                self.add_loss(loss)
            self.tracker.update_state(
                decision.statistics["load"], decision.statistics["entropy"], drop_rate
            )
        extras: tuple[Any, ...] = () if decision.state is None else (decision.state,)
        if return_routing:
            extras += (self._routing(decision, ops.shape(routed)[:-1]),)
        return (outputs, *extras) if extras else outputs

    def _run_experts(
        self, x: Any, decision: RoutingDecision, training: bool | None
    ) -> tuple[Any, Any]:
        """The experts' weighted outputs in the shape of `x`, and the share of dropped pairs."""
        x = self.experts.prepare(x)
        unit = 1 if self.level == "sample" else len(x.shape) - 1  # leading axes of what is routed
        leading, shape = ops.shape(x)[:unit], tuple(x.shape[unit:])
        rows = ops.reshape(x, (-1, math.prod(shape)))
        experts: Any = self.experts if len(shape) == 1 else _WholeSamples(self.experts, shape)
        drop_rate: Any = 0.0
        if decision.kind == "expert":
            outputs = run_chosen_tokens(rows, decision, experts)
        elif decision.kind == "slots":
            outputs = run_mixed_slots(rows, decision, experts)
        else:
            limits = {}
            if training and "capacity" in self.settings:
                limits["capacity_factor"] = self.settings["capacity"]
            outputs, drop_rate = self.dispatch(
                rows, decision.indices, decision.weights, experts, training, **limits
            )
        if len(shape) == 1:
            return ops.reshape(outputs, (*leading, outputs.shape[-1])), drop_rate
        return ops.reshape(outputs, (*leading, *experts.output_shape)), drop_rate

    def _routing(self, decision: RoutingDecision, leading: Any) -> dict[str, Any]:
        """Weights and probabilities per token over all experts, in the input's leading shape."""
        shape = (*leading, self.experts.num_experts)
        return {
            "weights": ops.reshape(decision.weight_of_expert(), shape),
            "probabilities": ops.reshape(decision.probabilities, shape),
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "router": serialize_part(self.router),
            "experts": serialize_part(self.experts),
            "shared": serialize_part(self.shared),
            "dispatch": keras.saving.serialize_keras_object(self.dispatch),
            "level": self.level,
        }


class _WholeSamples:
    """A bank on whole examples, for dispatchers that move flat rows.

    Args:
        bank: experts that take `(..., rows, *positions, features)`.
        shape: `(*positions, features)` of an example.
    """

    def __init__(self, bank: ExpertBank, shape: Any) -> None:
        self.bank = bank
        self.num_experts = bank.num_experts
        self.shape = shape
        # The experts may change the number of features and nothing else.
        self.output_shape = (*shape[:-1], bank.features_out(shape[-1]))

    def __call__(self, rows: Any, expert_ids: Any = None, extra: ExtraGroups | None = None) -> Any:
        if isinstance(rows, list | tuple):
            return [self._flat(y) for y in self.bank([self._whole(x) for x in rows])]
        if extra is not None:
            extra = extra._replace(rows=self._whole(extra.rows))
            return tuple(self._flat(y) for y in self.bank(self._whole(rows), extra=extra))
        return self._flat(self.bank(self._whole(rows), expert_ids=expert_ids))

    def _whole(self, rows: Any) -> Any:
        return ops.reshape(rows, (*ops.shape(rows)[:-1], *self.shape))

    def _flat(self, outputs: Any) -> Any:
        rows = ops.shape(outputs)[: -len(self.shape)]
        return ops.reshape(outputs, (*rows, math.prod(self.output_shape)))
