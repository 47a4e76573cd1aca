"""Routing to the experts that would answer a token with the fewest active units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.top_k import TopK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "moe_x",
    paper="Yang et al. 2025, ICML, arXiv 2503.07639",
    purpose="the experts that answer most sparsely, for reading what hidden units mean",
    interpretation=True,
)
class MoEX(TopK):
    """Scores an expert by how few of its hidden units a token would activate; has no weights.

    The columns of an expert's first matrix are taken for draws of `N(mu, diag(sigma^2))`, and its
    first biases for draws of their own mean and variance. Then a unit's sum before the ReLU has
    mean `m = x mu + mean(b)` and variance `v = x^2 sigma^2 + var(b)`, and is positive with
    probability `Phi(m / sqrt(v))`. `logits = -Phi(m / sqrt(v)) / temperature`; top k as in
    `TopK`.

    With ReLU experts the layer is one wide network whose hidden layer is gated:
    `sum_e g_e W2_e relu(W1_e x) = W2 (g * relu(W1 x))`, with stacked W1, W2.

    Source: Yang et al. 2025, "Mixture of Experts Made Intrinsically Interpretable",
    arXiv 2503.07639. Interpretation: no code and not the whole text were at hand; the normal
    approximation, biases, the temperature, and that gradients pass through the statistics to the
    experts are ours.

    Args:
        temperature: > 0, the initial value of the setting "temperature". Default 0.1.
        **kwargs: of `TopK`; `kernel_initializer` has no effect.

    The bank's first stacked weight must be the first matrix `(experts, features, hidden)`, as in
    `FFNExperts` (with `activation="relu"`) and `MLPExperts`; biases are found by their names
    there, "bias_1" and "bias_0".

    Example:
        >>> from moe_apps.layers import FFNExperts, MoE
        >>> layer = MoE(MoEX(k=2), FFNExperts(num_experts=4, hidden_dim=16))
        >>> tuple(layer(ops.ones((3, 5, 8))).shape)
        (3, 5, 8)
    """

    def __init__(self, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ValueError(f"`temperature` must be greater than 0. Received: {temperature}")
        self.temperature = temperature
        self._first_layer: Callable[[], tuple[Any, Any]] | None = None

    def attach(self, experts: Any) -> None:
        def first_layer() -> tuple[Any, Any]:
            kernel, *others = experts.stacked_weights
            biases = [weight for weight in others if weight.name in ("bias_0", "bias_1")]
            return kernel, biases[0] if biases else None

        # A function, not the bank: Keras would count the bank's weights as the router's.
        self._first_layer = first_layer

    def build(self, input_shape: Any) -> None:
        self.check_at_most_experts("k", self.k)
        self.add_setting("temperature", self.temperature)
        self.built = True

    def score(self, inputs: RouterInputs) -> Any:
        if self._first_layer is None:
            raise ValueError("`MoEX` scores by the weights of its experts: use it in `MoE`.")
        kernel, bias = self._first_layer()
        tokens = self.jittered(inputs).tokens
        kernel = ops.cast(kernel, "float32")  # (experts, features, hidden)
        if len(kernel.shape) != 3 or kernel.shape[1] != tokens.shape[-1]:
            raise ValueError(
                "`MoEX` needs experts whose first weight is (experts, features, hidden), with "
                f"{tokens.shape[-1]} features. Received: {tuple(kernel.shape)}"
            )
        mean = ops.matmul(tokens, ops.transpose(ops.mean(kernel, axis=-1)))
        variance = ops.matmul(ops.square(tokens), ops.transpose(ops.var(kernel, axis=-1)))
        if bias is not None:
            bias = ops.reshape(ops.cast(bias, "float32"), (kernel.shape[0], -1))
            mean = mean + ops.mean(bias, axis=-1)
            variance = variance + ops.var(bias, axis=-1)
        # Where nothing varies, all units are on or off together.
        deviations = mean * ops.rsqrt(variance + 1e-12)  # (tokens, experts)
        active = 0.5 * (1 + ops.erf(deviations / math.sqrt(2)))
        return -active / self.settings["temperature"]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
