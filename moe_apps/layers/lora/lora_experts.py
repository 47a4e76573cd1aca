"""Low-rank experts."""

from __future__ import annotations

from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts import ExpertBank
from moe_apps.registry import EXPERT_BANKS


def check_rank(rank: int, alpha: float) -> None:
    """Refuse a rank below 1 or a scale that is not positive."""
    if rank < 1:
        raise ValueError(f"`rank` must be at least 1. Received: {rank}")
    if alpha <= 0:
        raise ValueError(f"`alpha` must be positive. Received: {alpha}")


@listed(
    EXPERT_BANKS,
    "lora",
    paper="Hu et al. 2021, arXiv 2106.09685; Gao et al. 2024, arXiv 2402.08562 (MoLA)",
    purpose="low-rank updates, to be added to a frozen layer",
)
class LoRAExperts(ExpertBank):
    """Low-rank experts: `(alpha / rank) (x A_e) B_e`.

    B starts at 0, so that every expert's output is 0 at first.

    Source: Hu et al. 2021, "LoRA", arXiv 2106.09685.

    Args:
        num_experts: number of experts.
        rank: columns of A. Default 8.
        alpha: scale, divided by the rank. Default 16.
        output_dim: width of the output; None keeps the input's.
        kernel_initializer: of A. Default "he_uniform".

    Example:
        >>> import keras
        >>> y = LoRAExperts(num_experts=4, rank=2)(keras.random.normal((4, 5, 8)))
        >>> tuple(y.shape), bool(ops.any(y != 0))
        ((4, 5, 8), False)
    """

    def __init__(
        self,
        num_experts: int,
        rank: int = 8,
        alpha: float = 16.0,
        output_dim: int | None = None,
        kernel_initializer: Any = "he_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_experts, kernel_initializer, **kwargs)
        check_rank(rank, alpha)
        self.rank = rank
        self.alpha = alpha
        self.output_dim = output_dim

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        self.add_stacked_weight("a", (features, self.rank), self.kernel_initializer)
        self.add_stacked_weight("b", (self.rank, self.features_out(features)), "zeros")
        self.built = True

    def features_out(self, features: int) -> int:
        return self.output_dim or features

    def compute(self, x: Any, *weights: Any) -> Any:
        a, b = weights
        return (self.alpha / self.rank) * ops.matmul(ops.matmul(x, a), b)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "alpha": self.alpha,
            "output_dim": self.output_dim,
        }
