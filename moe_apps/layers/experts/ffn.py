"""Feed-forward experts."""

from __future__ import annotations

from typing import Any

import keras

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.layers.experts.rows_product import rows_product
from moe_apps.registry import EXPERT_BANKS


@listed(
    EXPERT_BANKS,
    "ffn",
    paper="Shazeer et al. 2017, arXiv 1701.06538",
    purpose="two-layer networks",
)
class FFNExperts(ExpertBank):
    """Two-layer experts: `activation(x W1 + b1) W2 + b2`.

    Source: Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2021, arXiv 2101.03961.

    Args:
        num_experts: number of experts.
        hidden_dim: width of the hidden layer.
        output_dim: width of the output; None keeps the input's.
        activation: of the hidden layer. Default "relu".
        use_bias: add b1 and b2. Default True.
        kernel_initializer: of W1 and W2; biases start at 0.

    Example:
        >>> FFNExperts(num_experts=4, hidden_dim=16)(keras.random.normal((4, 5, 8))).shape[-1]
        8
    """

    def __init__(
        self,
        num_experts: int,
        hidden_dim: int,
        output_dim: int | None = None,
        activation: Any = "relu",
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, **kwargs)
        self.hidden_dim = hidden_dim
        self.output_dim = output_dim
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        outputs = self.features_out(features)
        self.add_stacked_weight("kernel_1", (features, self.hidden_dim), self.kernel_initializer)
        self.add_stacked_weight("kernel_2", (self.hidden_dim, outputs), self.kernel_initializer)
        if self.use_bias:
            self.add_stacked_weight("bias_1", (1, self.hidden_dim), "zeros")
            self.add_stacked_weight("bias_2", (1, outputs), "zeros")
        self.built = True

    def features_out(self, features: int) -> int:
        return self.output_dim or features

    def compute(self, x: Any, *weights: Any) -> Any:
        kernel_1, kernel_2, *biases = weights
        hidden = rows_product(x, kernel_1)
        if biases:
            hidden = hidden + biases[0]
        outputs = rows_product(self.activation(hidden), kernel_2)
        return outputs + biases[1] if biases else outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "output_dim": self.output_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
        }
