"""Noisy top-k gating."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs, RoutingDecision
from moe_apps.layers.routing.router import Router
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "noisy_top_k",
    paper="Shazeer et al. 2017, arXiv 1701.06538",
    purpose="the k best experts under learned noise, balanced by importance and load",
)
class NoisyTopK(Router):
    """Sends each token to the k experts with the highest scores under noise of learned size.

    `z = x W`, `sigma = softplus(x W_noise) + noise_floor`, `h = z + N(0, 1) * sigma` in training
    and `h = z` otherwise; the weights are the softmax of h over the k largest. Two losses are
    added in training, over real tokens, with `CV(v)^2 = variance(v) / mean(v)^2` over experts:

    - importance: `CV^2` of each expert's sum of weights,
    - load: `CV^2` of each expert's smooth count `sum_i Phi((z_ie - t_ie) / sigma_ie)`, where Phi
      is the normal distribution function and t_ie the k-th largest of token i's h without h_ie:
      the probability that fresh noise on expert e alone would have it chosen.

    Source: Shazeer et al. 2017, "Outrageously Large Neural Networks", arXiv 1701.06538. The paper
    starts `W` at zero. All experts then tie, and at inference, without noise, the first ones get
    every token; here W starts with tiny random numbers instead.

    Args:
        k: experts per token, at least 1. Default 2. With one, the weight is always 1, and only
            the losses train the router.
        noise_floor: least standard deviation of the noise, > 0. Default 0.01.
        importance_loss_weight: factor of the importance loss; 0 leaves it out. Default 0.01.
        load_loss_weight: factor of the load loss; 0 leaves it out. Default 0.01.
        kernel_initializer: initializer of W. Default normal with standard deviation 0.001.
        seed: seed of the noise.
        **kwargs: `num_experts`, `balance_loss_weight`, `z_loss_weight` of `Router`.

    Example:
        >>> decision = NoisyTopK(k=2, num_experts=4)(keras.random.normal((3, 5, 8)))
        >>> tuple(decision.indices.shape), sorted(decision.losses)
        ((15, 2), ['importance', 'load'])
    """

    def __init__(
        self,
        k: int = 2,
        noise_floor: float = 1e-2,
        importance_loss_weight: float = 1e-2,
        load_loss_weight: float = 1e-2,
        kernel_initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.RandomNormal(stddev=1e-3)
        super().__init__(kernel_initializer=kernel_initializer, **kwargs)
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: k={k}")
        if noise_floor <= 0:
            raise ValueError(f"`noise_floor` must be greater than 0. Received: {noise_floor}")
        self.k = k
        self.noise_floor = noise_floor
        self.importance_loss_weight = importance_loss_weight
        self.load_loss_weight = load_loss_weight
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.check_at_most_experts("k", self.k)
        self.noise_kernel = self.add_weight(
            name="noise_kernel", shape=self.kernel.shape, initializer="zeros"
        )

    def adjust(self, logits: Any, inputs: RouterInputs) -> Any:
        if not inputs.training:
            return logits
        noise = keras.random.normal(ops.shape(logits), seed=self.seed_generator)
        return logits + noise * self.noise_size(inputs)

    def noise_size(self, inputs: RouterInputs) -> Any:
        """Standard deviation of the noise, `(tokens, experts)`."""
        return ops.softplus(ops.matmul(inputs.tokens, self.noise_kernel)) + self.noise_floor

    def select(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.cast(ops.top_k(logits, self.k)[1], "int32")

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        return ops.softmax(ops.take_along_axis(logits, indices, axis=-1), axis=-1)

    def regularise(
        self, logits: Any, decision: RoutingDecision, inputs: RouterInputs
    ) -> dict[str, Any]:
        losses = super().regularise(logits, decision, inputs)
        if self.importance_loss_weight:
            importance = ops.sum(decision.weight_of_expert(), axis=0)
            losses["importance"] = self.importance_loss_weight * squared_variation(importance)
        if self.load_loss_weight:
            load = ops.sum(self.smooth_choice(logits, inputs), axis=0)
            losses["load"] = self.load_loss_weight * squared_variation(load)
        return losses

    def smooth_choice(self, noisy: Any, inputs: RouterInputs) -> Any:
        """Probability that fresh noise on one expert alone has it chosen, `(tokens, experts)`.

        Args:
            noisy: `(tokens, experts)` logits with noise.
            inputs: what the router was given; padding gets 0.
        """
        if self.k == noisy.shape[-1]:
            chosen = ops.ones_like(noisy)  # whatever the noise
        else:
            best = ops.top_k(noisy, self.k + 1)[0]
            last_in, first_out = best[:, self.k - 1, None], best[:, self.k, None]
            # Without a chosen expert, the first one left out would be the k-th.
            threshold = ops.where(noisy >= last_in, first_out, last_in)
            # Logits against logits: nothing here has gone through a softmax.
            distance = (self.score(inputs) - threshold) / self.noise_size(inputs)
            chosen = 0.5 * (1.0 + ops.erf(distance / 2**0.5))
        return chosen if inputs.mask is None else ops.where(inputs.mask[:, None], chosen, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "noise_floor": self.noise_floor,
            "importance_loss_weight": self.importance_loss_weight,
            "load_loss_weight": self.load_loss_weight,
            "seed": self.seed,
        }


def squared_variation(values: Any) -> Any:
    """Squared coefficient of variation, `variance / mean^2`, of a vector; 0 for zeros.

    Example:
        >>> round(float(squared_variation(ops.array([1.0, 3.0]))), 4)
        0.25
    """
    return ops.var(values) / (ops.square(ops.mean(values)) + 1e-10)
