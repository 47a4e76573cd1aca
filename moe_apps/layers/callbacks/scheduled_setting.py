"""Settings that change from batch to batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from moe_apps.layers.callbacks.probe import all_layers
from moe_apps.layers.catalogue import listed
from moe_apps.registry import CALLBACKS


@listed(
    CALLBACKS,
    "scheduled_setting",
    paper="Huang et al. 2024, arXiv 2403.07652, and others",
    purpose="k, threshold, temperature or capacity after a schedule of the steps",
    batch_independent=None,
    causal=None,
)
class ScheduledSetting(keras.callbacks.Callback):
    """Sets a routing setting of all layers that have it, before each training step.

    `setting = schedule(step)`, the step counted by the optimizer, so that a second `fit` goes
    on where the first stopped. With `steps_per_execution` above 1 it changes as seldom as
    Keras calls back. The last value is saved with the model.

    Args:
        name: key in `settings` of the routers and MoE layers, such as "k", "threshold",
            "temperature", or "capacity" of a layer with `Capacity(scheduled=True)`.
        schedule: function of the step, or a schedule of `keras.optimizers.schedules`.

    Raises:
        ValueError: at the start of training, when no layer has such a setting.

    Example:
        >>> cooling = keras.optimizers.schedules.PolynomialDecay(2.0, 1000, 0.1)
        >>> callback = ScheduledSetting("temperature", cooling)
    """

    def __init__(
        self,
        name: str,
        schedule: Callable[[int], Any] | keras.optimizers.schedules.LearningRateSchedule,
    ) -> None:
        super().__init__()
        self.name = name
        self.schedule = schedule

    def on_train_begin(self, logs: Any = None) -> None:
        layers = all_layers(self.model)
        self._settings = [
            layer.settings[self.name]
            for layer in layers
            if self.name in getattr(layer, "settings", {})
        ]
        if not self._settings:
            known = sorted({name for layer in layers for name in getattr(layer, "settings", {})})
            raise ValueError(
                f"No layer of the model has a setting {self.name!r}; there are: {known}."
            )
        self._done = int(self.model.optimizer.iterations)
        self._value: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start = self._done

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        value = float(self.schedule(self._epoch_start + batch))
        if value != self._value:
            _ = self.model  # asking for it fetches the weights from JAX' training loop
            for setting in self._settings:
                setting.assign(value)
            self._value = value

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._done = self._epoch_start + batch + 1
