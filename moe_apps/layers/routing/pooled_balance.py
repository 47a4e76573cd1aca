"""One balance loss over the routers of all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.routing.losses import balance_loss


@keras.saving.register_keras_serializable(package="moe_apps")
class PooledBalanceLoss(keras.layers.Layer):
    """Adds the balance loss of all layers' tokens taken together, times k, in training.

    At perfect balance the unweighted value is k. This is the form of Time-MoE's released code,
    which pools the routers of all layers and does not divide by k; its paper's form, 1 at
    balance, is what each router's own `balance_loss_weight` gives.

    Source: Shi et al. 2024, "Time-MoE", arXiv 2409.16040, and its released code.

    Args:
        k: experts per token.
        weight: factor of the loss.

    Call arguments:
        x: any tensor; returned as it is.
        routings: one `{"weights", "probabilities"}` per layer, as `MoE` returns them.
        mask: boolean, of the routings' leading shape, true for real tokens.
    """

    def __init__(self, k: int, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.k = k
        self.weight = weight

    def call(
        self,
        x: Any,
        routings: Sequence[dict[str, Any]],
        mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        if training:
            self.add_loss(self.weight * self.value(routings, mask))
        return x

    def value(self, routings: Sequence[dict[str, Any]], mask: Any = None) -> Any:
        """The unweighted loss, a scalar."""

        def pooled(name: str) -> Any:
            rows = [ops.reshape(r[name], (-1, r[name].shape[-1])) for r in routings]
            return ops.concatenate(rows, axis=0)

        weights = pooled("weights")
        chosen = ops.cast(ops.not_equal(weights, 0), "float32")
        load = ops.sum(chosen, axis=0) / ops.maximum(ops.sum(chosen), 1.0)
        if mask is not None:
            mask = ops.tile(ops.reshape(mask, (-1,)), (len(routings),))
        return self.k * balance_loss(load, pooled("probabilities"), mask)

    def compute_output_shape(self, x_shape: Any, **kwargs: Any) -> Any:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k, "weight": self.weight}
