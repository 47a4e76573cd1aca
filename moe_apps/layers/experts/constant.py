"""Experts that cost nothing: zero, copy and constant."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.experts.expert_bank import ExpertBank
from moe_apps.registry import EXPERT_BANKS

PAPER = "Jin et al. 2024, arXiv 2410.07348"


class ScaledInput(ExpertBank):
    """Experts without weights that give their input times one number.

    Args:
        num_experts: number of experts.
    """

    factor: float

    def build(self, input_shape: Any) -> None:
        self.built = True

    def expert_weights(self) -> list[Any]:
        return [ops.full((self.num_experts, 1), self.factor, dtype=self.compute_dtype)]

    def compute(self, x: Any, *weights: Any) -> Any:
        # As many axes as the rows have, which may be whole examples.
        return x * ops.reshape(weights[0], (-1,) + (1,) * (len(x.shape) - 1))


@listed(EXPERT_BANKS, "zero", paper=PAPER, purpose="experts that skip a token, at no cost")
class ZeroExperts(ScaledInput):
    """Experts that give 0: `f(x) = 0`, so that a token can skip the layer.

    Source: Jin et al. 2024, "MoE++", arXiv 2410.07348.

    Args:
        num_experts: number of experts.

    Example:
        >>> float(ops.max(ZeroExperts(2)(keras.random.uniform((2, 5, 8)))))
        0.0
    """

    factor = 0.0


@listed(EXPERT_BANKS, "copy", paper=PAPER, purpose="experts that pass a token on, at no cost")
class CopyExperts(ScaledInput):
    """Experts that give their input: `f(x) = x`, a shortcut past the layer.

    Source: Jin et al. 2024, "MoE++", arXiv 2410.07348.

    Args:
        num_experts: number of experts.

    Example:
        >>> [float(value) for value in CopyExperts(2)(ops.array([[[3.0, 4.0]]]))[1, 0]]
        [3.0, 4.0]
    """

    factor = 1.0


@listed(
    EXPERT_BANKS, "constant", paper=PAPER, purpose="experts that move a token to a learned vector"
)
class ConstantExperts(ExpertBank):
    """Experts that move a token towards a learned vector: `f(x) = a1 x + a2 v`.

    `a = softmax(x W)` with `W` `(features, 2)`, so an expert lies between copying and replacing.

    Source: Jin et al. 2024, "MoE++", arXiv 2410.07348.

    Args:
        num_experts: number of experts.
        vector_initializer: of one expert's `v`. Default: normal with deviation 1, as in the
            released code.
        kernel_initializer: of `W`.

    Example:
        >>> tuple(ConstantExperts(2)(keras.random.normal((2, 5, 8))).shape)
        (2, 5, 8)
    """

    def __init__(self, num_experts: int, vector_initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(num_experts, **kwargs)
        self.vector_initializer = keras.initializers.get(
            vector_initializer or keras.initializers.RandomNormal(stddev=1.0)
        )

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        self.add_stacked_weight("kernel", (features, 2), self.kernel_initializer)
        self.add_stacked_weight("vector", (1, features), self.vector_initializer)
        self.built = True

    def compute(self, x: Any, *weights: Any) -> Any:
        kernel, vector = weights
        share = ops.softmax(ops.matmul(x, kernel), axis=-1)  # (..., rows, 2)
        return share[..., :1] * x + share[..., 1:] * vector

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vector_initializer": keras.initializers.serialize(self.vector_initializer),
        }
