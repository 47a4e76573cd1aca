"""FlyLoRA: the ranks of one low-rank update are its experts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from moe_apps.layers.catalogue import listed
from moe_apps.layers.lora.frozen_base import AdaptedDense
from moe_apps.layers.lora.lora_experts import check_rank
from moe_apps.layers.routing.losses import expert_load
from moe_apps.registry import LAYERS


@listed(
    LAYERS,
    "fly_lora",
    paper="Zou et al. 2025 (FlyLoRA)",
    purpose="fine-tunes a frozen dense layer by the few ranks each token activates",
)
class FlyLoRA(AdaptedDense):
    """A frozen dense layer plus a low-rank update of which each token uses k ranks.

    `h = x A`, with A sparse, random and frozen; the k ranks with the largest `|h + d|` are kept,
    and `y = activation(x W + b + (alpha / rank) (h * kept) B)`. A is the router too, so there is
    no other. In training the bias d moves against the load: `d_i += step sign(mean(c) - c_i)`
    with c the share of pairs that rank i got from the real tokens.

    B starts at 0, so that at first the output is the frozen layer's. Updates with seeds of their
    own are nearly orthogonal, so that those of several tasks can be added.

    Source: "FlyLoRA", 2025, and its released code, of which one part selects by `|h + d|` and
    another by `h + d`; `signed` takes the second.

    Args:
        base: the `keras.layers.Dense` to adapt. Its weights become non-trainable.
        rank: number of ranks. Default 32.
        k: ranks a token uses. Default 8.
        alpha: scale, divided by the rank; None takes `2 * rank`.
        bias_step: step of d; 0 leaves d as it is. Default 0.01.
        signed: select by `h + d`. Default False.
        seed: of A. Each column has `features * k // rank` entries, at least one, with deviation
            `1 / rank`, at random places.

    Call arguments:
        x: `(..., features)`.
        mask: boolean `(...)`, true for real tokens; others do not move d.

    Returns:
        `(..., units)`. No losses are added.

    Example:
        >>> base = keras.layers.Dense(7)
        >>> x = keras.random.normal((5, 8))
        >>> bool(ops.all(FlyLoRA(base, rank=4, k=2)(x) == base(x)))
        True
    """

    def __init__(
        self,
        base: keras.layers.Dense | dict[str, Any],
        rank: int = 32,
        k: int = 8,
        alpha: float | None = None,
        bias_step: float = 0.01,
        signed: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(base, **kwargs)
        check_rank(rank, 1.0 if alpha is None else alpha)
        if not 1 <= k <= rank:
            raise ValueError(f"`k` must be in [1, rank]. Received: k={k}, rank={rank}")
        self.supports_masking = True
        self.rank = rank
        self.k = k
        self.alpha = alpha
        self.bias_step = bias_step
        self.signed = signed
        self.seed = seed

    def build_update(self, features: int, units: int) -> None:
        self.a = self.add_weight(
            name="a",
            shape=(features, self.rank),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self._draw(shape), dtype),
            trainable=False,
        )
        self.b = self.add_weight(name="b", shape=(self.rank, units), initializer="zeros")
        self.d = self.add_weight(
            name="d",
            shape=(self.rank,),
            initializer="zeros",
            dtype="float32",
            autocast=False,
            trainable=False,
        )

    def _draw(self, shape: tuple[int, int]) -> np.ndarray:
        """A `(features, rank)` by NumPy, so that a seed means the same on every backend."""
        features, rank = shape
        seed = self.seed
        if seed is None:  # as Keras's own random numbers, it follows the global seed
            seed = keras.random.SeedGenerator().get_config()["seed"]
        rng = np.random.default_rng(seed)
        count = max(features * self.k // rank, 1)
        places = rng.random(shape).argsort(axis=0)[:count]  # (count, rank)
        values = np.zeros(shape, "float32")
        np.put_along_axis(values, places, rng.normal(0, 1 / rank, places.shape), axis=0)
        return values

    def update(self, x: Any, mask: Any, training: bool | None) -> Any:
        h = ops.matmul(x, self.a)  # (..., rank)
        chosen = self.chosen_ranks(h)  # (..., k)
        if training and self.bias_step:
            self._follow(chosen, mask)
        kept = ops.sum(ops.one_hot(chosen, self.rank, dtype=h.dtype), axis=-2)
        alpha = 2 * self.rank if self.alpha is None else self.alpha
        return (alpha / self.rank) * ops.matmul(h * kept, self.b)

    def chosen_ranks(self, h: Any) -> Any:
        """Indices `(..., k)` int32 of the ranks that are used, for `h = x A`."""
        scores = ops.cast(h, "float32") + self.d
        scores = scores if self.signed else ops.abs(scores)
        return ops.cast(ops.top_k(ops.stop_gradient(scores), self.k)[1], "int32")

    def _follow(self, chosen: Any, mask: Any) -> None:
        real = ops.ones_like(chosen, dtype="float32")
        if mask is not None:
            real = real * ops.cast(mask, "float32")[..., None]
        chosen, real = (ops.reshape(values, (-1, self.k)) for values in (chosen, real))
        load = expert_load(chosen, real, self.rank)
        self.d.assign_add(self.bias_step * ops.sign(ops.mean(load) - load))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rank": self.rank,
            "k": self.k,
            "alpha": self.alpha,
            "bias_step": self.bias_step,
            "signed": self.signed,
            "seed": self.seed,
        }
