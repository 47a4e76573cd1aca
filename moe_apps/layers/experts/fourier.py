"""Fourier experts."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "fourier",
    paper="Ortigossa et al. 2026, arXiv 2601.21866",
    purpose="periodic patterns of time series: sine, cosine and a plain layer side by side",
)
class FourierExperts(ExpertBank):
    """Experts of two Fourier layers: `F(F(x))`, `F(x) = [cos(x P), sin(x P), activation(x Q)]`.

    Of the `n` outputs of a layer, `n // 4` are cosines, as many are sines, and the rest come
    from the plain part. There are no biases. With the default activation an output is never
    below -1, and half of the outputs lie in [-1, 1]: put the bank inside a residual connection.

    Source: Ortigossa et al. 2026, "MoHETS", arXiv 2601.21866, which draws both matrices from
    N(0, 1): `kernel_initializer=keras.initializers.RandomNormal(stddev=1.0)`.

    Args:
        num_experts: number of experts.
        hidden_dim: outputs of the first layer, at least 4.
        output_dim: outputs of the second layer, at least 4; None keeps the input's.
        activation: of the plain part. Default "gelu".
        frequency_scale: standard deviation of P at the start. Default 1.0; 1 / sqrt(features)
            gives phases of about one radian.
        kernel_initializer: of Q.

    Example:
        >>> FourierExperts(num_experts=4, hidden_dim=16)(keras.random.normal((4, 5, 8))).shape[-1]
        8
    """

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        output_dim: int | None = None,
        activation: Any = "gelu",
        frequency_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, **kwargs)
        for name, value in (("hidden_dim", hidden_dim), ("output_dim", output_dim)):
            if value is not None and value < 4:
                raise ValueError(f"`{name}` must be at least 4. Received: {value}")
        if frequency_scale <= 0:
            raise ValueError(
                f"`frequency_scale` must be greater than 0. Received: {frequency_scale}"
            )
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.activation = keras.activations.get(activation)
        self.frequency_scale = frequency_scale

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        outputs = self.features_out(features)
        if outputs < 4:
            raise ValueError(f"The inputs must have at least 4 features. Received: {features}")
        for name, width_in, width_out in (
            ("1", features, self.hidden_dim),
            ("2", self.hidden_dim, outputs),
        ):
            waves = width_out // 4
            frequencies = keras.initializers.RandomNormal(stddev=self.frequency_scale)
            self.add_stacked_weight(f"frequencies_{name}", (width_in, waves), frequencies)
            plain = (width_in, width_out - 2 * waves)
            self.add_stacked_weight(f"kernel_{name}", plain, self.kernel_initializer)
        self.built = True

    def features_out(self, features: int) -> int:
        return self.output_dim or features

    def compute(self, x: Any, *weights: Any) -> Any:
        frequencies_1, kernel_1, frequencies_2, kernel_2 = weights
        hidden = self._fourier(x, frequencies_1, kernel_1)
        return self._fourier(hidden, frequencies_2, kernel_2)

    def _fourier(self, x: Any, frequencies: Any, kernel: Any) -> Any:
        phase = ops.matmul(x, frequencies)
        plain = self.activation(ops.matmul(x, kernel))
        return ops.concatenate([ops.cos(phase), ops.sin(phase), plain], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
            "activation": keras.activations.serialize(self.activation),
            "frequency_scale": self.frequency_scale,
        }
