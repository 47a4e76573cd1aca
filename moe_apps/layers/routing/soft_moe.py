"""Soft routing: slots that are mixtures of tokens."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.losses import masked_mean
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "soft_moe",
    paper="Puigcerver et al. 2023, arXiv 2308.00951",
    purpose="experts work on mixtures of tokens: differentiable, balanced, nothing dropped",
    causal=False,
)
class SoftMoE(Router):
    """Gives each expert mixtures of an example's tokens, and each token a mixture of the results.

    With the tokens and the columns of W brought to unit length, `logits = scale * x W`
    `(tokens, experts * slots)`. A slot's input is the sum of the tokens, not normalised, weighted
    by the softmax of its column over the tokens of the example; a token's output is the sum of
    the slots' outputs weighted by the softmax of its row. Every expert has the same work, whatever
    the number of tokens, which may change. Each token sees all others of its example, so it is no
    router for decoders.

    Source: Puigcerver et al. 2023, "From Sparse to Soft Mixtures of Experts", arXiv 2308.00951.

    Args:
        slots: slots per expert, at least 1. Work as heavy as that of one expert a token needs
            `tokens / experts` of them. Default 1.
        noise: in training, standard deviation of normal noise added to the logits. Default 0.
        seed: seed of the noise.
        **kwargs: `num_experts`, `z_loss_weight`, `kernel_initializer` of `Router`.

    Call arguments:
        x: `(batch, ..., features)`.
        mask: padding enters no slot and gets 0.

    The statistic `load` is an expert's share of the combination weights, and `probabilities` are
    those shares by token.

    Example:
        >>> decision = SoftMoE(slots=2, num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.dispatch.shape), tuple(decision.probabilities.shape)
        ((3, 5, 4, 2), (15, 4))
    """

    def __init__(
        self, slots: int = 1, noise: float = 0.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if slots < 1:
            raise ValueError(f"`slots` must be at least 1. Received: {slots}")
        if noise < 0:
            raise ValueError(f"`noise` must not be negative. Received: {noise}")
        self.slots = slots
        self.noise = noise
        self.seed = seed
        if noise:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.known_num_experts() * self.slots),
            initializer=self.kernel_initializer,
        )
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.built = True

    def score(self, inputs: RouterInputs) -> Any:
        directions = _unit(self.kernel, axis=0) * self.scale
        return ops.matmul(_unit(inputs.tokens, axis=-1), directions)

    def adjust(self, logits: Any, inputs: RouterInputs) -> Any:
        if not (inputs.training and self.noise):
            return logits
        noise = keras.random.normal(ops.shape(logits), seed=self.seed_generator)
        return logits + self.noise * noise

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.sum(self._by_slot(ops.softmax(logits, axis=-1)), axis=-1)

    def decide(self, logits: Any, probabilities: Any, inputs: RouterInputs) -> RoutingDecision:
        combine = self._by_slot(ops.softmax(logits, axis=-1))  # (tokens, experts, slots)
        to_slots = inputs.by_example(self._by_slot(logits))  # (batch, positions, experts, slots)
        if inputs.mask is None:
            dispatch = ops.softmax(to_slots, axis=1)
        else:
            real = inputs.mask[:, None, None]
            combine = ops.where(real, combine, 0.0)
            real = inputs.by_example(real)
            # Finite, and 0 after: an example of padding alone would have no softmax.
            dispatch = ops.softmax(ops.where(real, to_slots, -1e9), axis=1)
            dispatch = ops.where(real, dispatch, 0.0)
        everyone = ops.full((ops.shape(logits)[0],), probabilities.shape[-1], dtype="float32")
        return RoutingDecision(
            indices=None,
            weights=inputs.by_example(combine),
            probabilities=probabilities,
            losses={},
            statistics=self.statistics(
                probabilities,
                load=masked_mean(probabilities, inputs.mask),
                active=everyone,
                inputs=inputs,
            ),
            kind="slots",
            dispatch=dispatch,
        )

    def _by_slot(self, values: Any) -> Any:
        """`(tokens, experts * slots)` -> `(tokens, experts, slots)`."""
        return ops.reshape(values, (-1, values.shape[-1] // self.slots, self.slots))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "slots": self.slots,
            "noise": self.noise,
            "seed": self.seed,
        }


def _unit(values: Any, axis: int) -> Any:
    """Vectors along `axis` at length 1; those near 0 stay shorter, so that no gradient explodes."""
    return values * ops.rsqrt(ops.sum(ops.square(values), axis=axis, keepdims=True) + 1e-6)
