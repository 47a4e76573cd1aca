"""DynaMoE: experts above a threshold, within a budget for each layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.routing.decision import RouterInputs
from moe_apps.layers.routing.up_to_k import UpToK
from moe_apps.registry import ROUTERS


@listed(
    ROUTERS,
    "dynamoe",
    paper="Guelmez 2026, arXiv 2603.01697",
    purpose="all experts above a probability, within a budget that may differ from layer to layer",
    interpretation=True,
)
class DynaMoE(UpToK):
    """Sends each token to every expert with at least `threshold` times the uniform probability.

    `p = softmax(x W)`; expert e is active where `p_e >= threshold / experts`. At least one and at
    most `k_max` experts are, the best ones. Weights are the softmax over the active ones. Sure
    tokens use one expert, unsure ones more.

    Source: Guelmez 2026, "DynaMoE", arXiv 2603.01697. Interpretation: the threshold is described
    as a percentile of the token's own scores. That many of E distinct scores always lie above it,
    so the number of active experts would be the same for all tokens, as with `TopK`. Here the
    threshold stands on a fixed scale, in units of the uniform probability `1 / experts`.

    Args:
        threshold: least probability of an active expert, times the number of experts; 0 takes as
            many as the budget allows. A setting that callbacks may change while training.
            Default 1.0.
        k_max: budget of the layer, for instance from `layer_schedule`; None for all experts.
        **kwargs: `num_experts`, `balance_loss_weight`, `z_loss_weight`, `kernel_initializer` of
            `Router`.

    `indices` and `weights` are `(tokens, k_max)`, with weights of 0 behind.

    Example:
        >>> router = DynaMoE(num_experts=3, kernel_initializer="identity")
        >>> decision = router(ops.log(ops.array([[0.8, 0.1, 0.1], [0.5, 0.1, 0.4]])))
        >>> [[round(float(w), 3) for w in row] for row in decision.weights]
        [[1.0, 0.0, 0.0], [0.556, 0.444, 0.0]]
    """

    def __init__(self, threshold: float = 1.0, k_max: int | None = None, **kwargs: Any) -> None:
        super().__init__(k_max=k_max, **kwargs)
        if threshold < 0:
            raise ValueError(f"`threshold` must not be negative. Received: {threshold}")
        self.threshold = threshold

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.add_setting("threshold", self.threshold)

    def weigh(self, logits: Any, probabilities: Any, indices: Any, inputs: RouterInputs) -> Any:
        best = super().weigh(logits, probabilities, indices, inputs)  # falling
        active = ops.logical_or(
            best >= self.settings["threshold"] / probabilities.shape[-1],
            ops.arange(best.shape[-1]) == 0,
        )
        weights = ops.where(active, best, 0.0)
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


# From the place of a layer, 0 for the first and 1 for the last, to its place between minimum and
# maximum.
_SHAPES: dict[str, Callable[[float], float]] = {
    "uniform": lambda place: 0.5,
    "ascending": lambda place: place,
    "descending": lambda place: 1 - place,
    "pyramid": lambda place: 1 - abs(2 * place - 1),
    "valley": lambda place: abs(2 * place - 1),
    "wave": lambda place: (1 + math.sin(4 * math.pi * place)) / 2,  # two periods
}


def layer_schedule(name: str, num_layers: int, minimum: int, maximum: int) -> list[int]:
    """Numbers of experts, or budgets, of the layers of a network, from the first to the last.

    Interpretation: the source names six schedules and gives no formulas; ours are straight lines
    and, for "wave", two periods of a sine, rounded to the nearest number.

    Source: Guelmez 2026, "DynaMoE", arXiv 2603.01697.

    Args:
        name: "uniform" (halfway), "ascending", "descending", "pyramid" (most in the middle),
            "valley" (least in the middle) or "wave".
        num_layers: number of layers, at least 1.
        minimum: least number, at least 1.
        maximum: largest number, at least `minimum`.

    Example:
        >>> layer_schedule("descending", 4, minimum=2, maximum=8)
        [8, 6, 4, 2]
    """
    if name not in _SHAPES:
        raise ValueError(f"`name` must be one of {sorted(_SHAPES)}. Received: {name!r}")
    if num_layers < 1:
        raise ValueError(f"`num_layers` must be at least 1. Received: {num_layers}")
    if not 1 <= minimum <= maximum:
        raise ValueError(
            "`minimum` must be at least 1 and at most `maximum`. "
            f"Received: minimum={minimum}, maximum={maximum}"
        )
    places = [layer / max(num_layers - 1, 1) for layer in range(num_layers)]
    return [
        math.floor(minimum + (maximum - minimum) * _SHAPES[name](place) + 0.5) for place in places
    ]
