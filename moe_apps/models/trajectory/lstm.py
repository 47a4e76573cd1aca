"""The recurrent networks that TMMOE is compared with."""

from __future__ import annotations

from typing import Any

import keras

from moe_apps.models.trajectory.tasks import TASKS

LONGEST_UNROLLED = 60


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class LSTMEncoder(keras.layers.Layer):
    """LSTM over the history: one for all tasks, or one for each, which then share nothing.

    Source: Hochreiter & Schmidhuber 1997, Neural Computation 9(8).

    Args:
        units: width of the state.
        multi_task: one LSTM for all tasks; else one a task, and training is that of three
            single-task networks at once. Default True.

    Call arguments:
        features: `(batch, time, n)`.
        context: not read.

    Returns:
        Task name -> `(batch, units)`, and None, since there are no gates.

    Example:
        >>> answers, gates = LSTMEncoder(8, multi_task=False)(keras.random.normal((2, 5, 3)))
        >>> tuple(answers["intention"].shape)
        (2, 8)
    """

    def __init__(self, units: int, multi_task: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.multi_task = units, multi_task
        self.networks: list[keras.layers.LSTM] = []

    def build(self, features_shape: Any, context_shape: Any = None) -> None:
        # A loop of the backend costs more than the few steps that a history has.
        unroll = features_shape[1] is not None and features_shape[1] <= LONGEST_UNROLLED
        for number in range(1 if self.multi_task else len(TASKS)):
            network = keras.layers.LSTM(
                self.units, unroll=unroll, dtype=self.dtype_policy, name=f"lstm_{number}"
            )
            network.build(features_shape)
            self.networks.append(network)
        self.built = True

    def call(
        self, features: Any, context: Any = None, training: bool | None = None
    ) -> tuple[dict[str, Any], None]:
        states = [network(features, training=training) for network in self.networks]
        if self.multi_task:
            states = states * len(TASKS)
        return dict(zip(TASKS, states, strict=True)), None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "multi_task": self.multi_task}
