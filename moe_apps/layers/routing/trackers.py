"""Keras metrics that follow the routing of one MoE layer over an epoch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from moe_apps.layers.dispatch.compilation import keeps_layer_metrics


@keras.saving.register_keras_serializable(package="moe_apps")
class RoutingTracker(keras.metrics.Metric):
    """Mean load per expert, router entropy and drop rate since the last reset.

    Args:
        num_experts: number of experts.
        name: prefix of the result's keys.

    The result is a dict of scalars: `<name>/load_<e>` (share of pairs, sums to 1),
    `<name>/entropy` (nats) and `<name>/drop_rate` (share of pairs that found no slot).

    Keras carries a layer's metrics through `fit` on TensorFlow. On JAX, `fit` runs a pure
    function that leaves them out, so they stay at 0 there unless the layer is called eagerly.

    Example:
        >>> tracker = RoutingTracker(2, name="moe")
        >>> tracker.update_state(load=[0.75, 0.25], entropy=0.5, drop_rate=0.0)
        >>> float(tracker.result()["moe/load_0"])
        0.75
    """

    def __init__(self, num_experts: int, name: str = "routing", **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(name=name, **kwargs)
        self.num_experts = num_experts
        zeros = keras.initializers.Zeros()
        self.load = self.add_variable((num_experts,), zeros, name="load")
        self.entropy = self.add_variable((), zeros, name="entropy")
        self.drop_rate = self.add_variable((), zeros, name="drop_rate")
        self.count = self.add_variable((), zeros, name="count")

    def update_state(self, load: Any, entropy: Any, drop_rate: Any) -> None:
        """Add one batch: `load` `(experts,)`, `entropy` and `drop_rate` scalars."""
        if not keeps_layer_metrics():
            return
        self.load.assign_add(ops.cast(load, "float32"))
        self.entropy.assign_add(ops.cast(entropy, "float32"))
        self.drop_rate.assign_add(ops.cast(drop_rate, "float32"))
        self.count.assign_add(1.0)

    def result(self) -> dict[str, Any]:
        batches = ops.maximum(self.count, 1.0)
        load = self.load / batches
        result = {f"{self.name}/load_{e}": load[e] for e in range(self.num_experts)}
        result[f"{self.name}/entropy"] = self.entropy / batches
        result[f"{self.name}/drop_rate"] = self.drop_rate / batches
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_experts": self.num_experts}
