"""Lookahead: an optimizer that goes some steps forward and part of the way back."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps")
class Lookahead(keras.optimizers.Optimizer):
    """Lets an optimizer go `sync_period` steps, then keeps a part of the way.

    After every `sync_period` steps of the inner optimizer, from the weights `s` at the start of
    the period to `w`, the weights become `s + slow_step_size * (w - s)`.

    Source: Zhang et al. 2019, "Lookahead Optimizer: k steps forward, 1 step back",
    arXiv 1907.08610.

    Args:
        optimizer: the inner optimizer, or its name. Clipping, weight decay and the like are its
            own matters.
        sync_period: steps of a period, at least 1. Default 6.
        slow_step_size: part of the way that is kept, in (0, 1]. Default 0.5.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile(Lookahead(keras.optimizers.SGD(0.1), sync_period=5), "mse")
        >>> round(float(model.optimizer.learning_rate), 3)
        0.1
    """

    def __init__(
        self,
        optimizer: Any,
        sync_period: int = 6,
        slow_step_size: float = 0.5,
        name: str = "Lookahead",
    ) -> None:
        if sync_period < 1:
            raise ValueError(f"`sync_period` must be at least 1. Received: {sync_period}")
        if not 0 < slow_step_size <= 1:
            raise ValueError(f"`slow_step_size` must be in (0, 1]. Received: {slow_step_size}")
        super().__init__(learning_rate=0.0, name=name)  # the inner optimizer's counts
        self.optimizer = keras.optimizers.get(optimizer)
        self.sync_period = sync_period
        self.slow_step_size = slow_step_size

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.slow = self.add_optimizer_variables(variables, "slow")
        self.optimizer.build(variables)

    @property
    def variables(self) -> list[Any]:
        return super().variables + self.optimizer.variables

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        pairs = [  # variables that are given outright, such as float8 scales, have no slow ones
            (variable, slow)
            for variable, slow in zip(self._trainable_variables, self.slow, strict=True)
            if slow is not None
        ]

        def choose(condition: Any, one: Any, two: Any) -> Any:
            return ops.where(condition, ops.convert_to_tensor(one), ops.convert_to_tensor(two))

        # Taken at each start, not at the build: weights may have been loaded since then.
        starts = ops.equal(self._iterations % self.sync_period, 0)
        for variable, slow in pairs:
            slow.assign(choose(starts, variable, slow))
        self.optimizer.apply(grads, trainable_variables)
        self._iterations.assign_add(1)
        ends = ops.equal(self._iterations % self.sync_period, 0)
        for variable, slow in pairs:
            kept = slow + self.slow_step_size * (variable - slow)
            variable.assign(choose(ends, kept, variable))

    @property
    def learning_rate(self) -> Any:
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.optimizer.learning_rate = learning_rate

    def scale_loss(self, loss: Any) -> Any:
        return self.optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Any) -> None:
        self.optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "sync_period": self.sync_period,
            "slow_step_size": self.slow_step_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Lookahead:
        inner = keras.saving.deserialize_keras_object(config["optimizer"], custom_objects)
        return cls(**{**config, "optimizer": inner})
