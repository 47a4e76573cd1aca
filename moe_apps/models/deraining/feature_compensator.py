"""DRSformer's mixture of experts, with options of ours."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers import OperationExperts
from moe_apps.layers.routing.losses import balance_loss

SPATIAL_CELL = 8
"""Pixels on each side of a square that a spatial gate weighs as one."""


@keras.saving.register_keras_serializable(package="moe_apps.deraining")
class FeatureCompensator(OperationExperts):
    """Mixture-of-experts feature compensator: eight operations, weighed for each image.

    With the default settings it is the source's (`OperationExperts`). Ours are:

    - `k` below the number of operations: the weights but the k largest of a step become 0 and
      the others are divided by their sum. All operations still run.
    - `spatial`: the gate sees means over squares of 8 x 8 pixels in place of the whole image's,
      and its weights are interpolated between them, so that sky and street can differ.
    - `balance_loss_weight`: adds, in training, the balance loss of Fedus et al. 2021 ("Switch
      Transformers", arXiv 2101.03961) over the images (and squares) of the batch, for each step.
    - `gated=False`: all weights are equal and there is no gate: the dense twin.

    Source: Chen et al. 2023, DRSformer, CVPR, arXiv 2303.11950.

    Args:
        k: operations with a weight, a step; None for all.
        spatial: weigh by position.
        balance_loss_weight: factor of the balance loss.
        gated: False for the dense twin.
        **kwargs: `steps`, `operations` of `OperationExperts`.

    Call arguments:
        x: `(batch, height, width, channels)`; with `spatial`, sizes are multiples of 8.
        weights: `(batch, steps, operations)` in place of the gate's (not with `spatial`).
        return_routing: also return `{"weights"}`, which with `spatial` are
            `(batch, height / 8, width / 8, steps, operations)`.

    Example:
        >>> layer = FeatureCompensator(k=2)
        >>> weights = layer(keras.random.normal((1, 8, 8, 4)), return_routing=True)[1]["weights"]
        >>> int(ops.sum(ops.cast(weights[0, 0] > 0, "int32")))
        2
    """

    def __init__(
        self,
        k: int | None = None,
        spatial: bool = False,
        balance_loss_weight: float = 0.0,
        gated: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if k is not None and not 1 <= k <= len(self.operations):
            raise ValueError(f"`k` must be 1 to {len(self.operations)}. Received: {k}")
        self.k = k
        self.spatial = spatial
        self.balance_loss_weight = balance_loss_weight
        self.gated = gated

    def build_gate(self, channels: int) -> None:
        if self.gated:
            super().build_gate(channels)

    def gate(self, x: Any) -> Any:
        shape = (self.steps, len(self.operations))
        if not self.gated:
            return ops.full((ops.shape(x)[0], *shape), 1 / len(self.operations), dtype="float32")
        if self.spatial:
            means = ops.average_pool(x, SPATIAL_CELL, strides=SPATIAL_CELL)
            logits = self.gate_output(self.gate_hidden(means))
            logits = ops.reshape(logits, (*ops.shape(means)[:-1], *shape))
            weights = ops.softmax(ops.cast(logits, "float32"), axis=-1)
        else:
            weights = super().gate(x)
        return weights

    def sparse(self, weights: Any) -> Any:
        """The k largest weights of each step, divided by their sum; the others 0."""
        if self.k is None or self.k == len(self.operations):
            return weights
        smallest = ops.stop_gradient(ops.top_k(weights, self.k)[0][..., -1:])
        kept = ops.where(weights >= smallest, weights, 0.0)
        return kept / ops.sum(kept, axis=-1, keepdims=True)

    def call(
        self,
        x: Any,
        weights: Any = None,
        return_routing: bool = False,
        training: bool | None = None,
    ) -> Any:
        if weights is None:
            probabilities = self.gate(x)
            weights = self.sparse(probabilities)
            if training and self.balance_loss_weight and self.gated:
                self.add_loss(self._balance(probabilities, weights))
        positions = self._by_position(weights, x) if len(weights.shape) == 5 else weights
        y = super().call(x, positions)
        return (y, {"weights": weights}) if return_routing else y

    def _by_position(self, weights: Any, x: Any) -> Any:
        """Weights `(batch, height, width, steps, operations)`, interpolated between squares."""
        batch, height, width, _ = ops.shape(x)
        steps, count = weights.shape[-2:]
        cells = ops.reshape(weights, (*ops.shape(weights)[:3], steps * count))
        maps = ops.image.resize(
            cells, (height, width), interpolation="bilinear", data_format="channels_last"
        )
        return ops.reshape(maps, (batch, height, width, steps, count))

    def _balance(self, probabilities: Any, weights: Any) -> Any:
        steps, count = weights.shape[-2:]
        probabilities, weights = (
            ops.reshape(values, (-1, steps, count)) for values in (probabilities, weights)
        )
        # Without k all operations are chosen: what can be balanced is their weight.
        shares = weights if self.k is None else ops.cast(weights > 0, "float32") / self.k
        load = ops.mean(shares, axis=0)  # (steps, operations)
        losses = [balance_loss(load[step], probabilities[:, step]) for step in range(steps)]
        return self.balance_loss_weight * sum(losses) / steps

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "k": self.k,
            "spatial": self.spatial,
            "balance_loss_weight": self.balance_loss_weight,
            "gated": self.gated,
        }
