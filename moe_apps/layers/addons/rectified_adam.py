"""Adam whose adaptive learning rate is rectified while it rests on few gradients."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moe_apps")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Up to a learning rate in a straight line, then down to another.

    Args:
        learning_rate: the highest rate, a number or a schedule.
        total_steps: steps up and down together.
        warmup_proportion: share of the steps that go up.
        min_lr: the rate after all steps.
    """

    def __init__(
        self, learning_rate: Any, total_steps: int, warmup_proportion: float, min_lr: float
    ) -> None:
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.warmup_proportion = warmup_proportion
        self.min_lr = min_lr

    def __call__(self, step: Any) -> Any:
        highest = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        steps = ops.cast(step, "float32") + 1
        up = self.total_steps * self.warmup_proportion
        down = max(self.total_steps - up, 1)
        return ops.where(
            steps <= up,
            highest * steps / max(up, 1),
            highest + (self.min_lr - highest) * ops.minimum(steps - up, down) / down,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_proportion": self.warmup_proportion,
            "min_lr": self.min_lr,
        }


@keras.saving.register_keras_serializable(package="moe_apps")
class RectifiedAdam(keras.optimizers.Optimizer):
    """Adam that first steps by momentum alone, and adaptively once the variance can be trusted.

    With Adam's bias-corrected moments `m` and `v` at step t, the length of the moving average is
    `L = 2 / (1 - beta_2) - 1` in the end and `l = L - 2 t beta_2^t / (1 - beta_2^t)` now. While
    `l < sma_threshold` the step is `lr * m`, thereafter `lr * r * m / (sqrt(v) + epsilon)` with
    `r = sqrt((l - 4) (l - 2) L / ((L - 4) (L - 2) l))`.

    Source: Liu et al. 2019, "On the Variance of the Adaptive Learning Rate and Beyond",
    arXiv 1908.03265.

    Args:
        learning_rate: a number or a schedule. Default 0.001.
        beta_1: decay of the first moment, in [0, 1). Default 0.9.
        beta_2: decay of the second moment, in (0.6, 1), which makes `L` longer than 4. Default
            0.999.
        epsilon: added to the denominator. Default 1e-7.
        weight_decay: `lr * weight_decay * weight` is subtracted beside the step. Default 0.
        amsgrad: keep the largest second moment. Default False.
        sma_threshold: average length from which steps are adaptive. Default 5.
        total_steps: when positive, the learning rate goes linearly up to `learning_rate` and
            down to `min_lr` in so many steps, and cannot be set later. Default 0, constant.
        warmup_proportion: share of `total_steps` that go up. Default 0.1.
        min_lr: learning rate after `total_steps`. Default 0.
        **kwargs: `clipnorm`, `use_ema` and so on, of every Keras optimizer.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile(RectifiedAdam(0.01, total_steps=100, min_lr=0.001), "mse")
        >>> model.optimizer.get_config()["learning_rate"]
        0.01
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.0,
        amsgrad: bool = False,
        sma_threshold: float = 5.0,
        total_steps: int = 0,
        warmup_proportion: float = 0.1,
        min_lr: float = 0.0,
        name: str = "RectifiedAdam",
        **kwargs: Any,
    ) -> None:
        if not 0 <= beta_1 < 1:
            raise ValueError(f"`beta_1` must be in [0, 1). Received: beta_1={beta_1}")
        if not 0.6 < beta_2 < 1:
            raise ValueError(f"`beta_2` must be in (0.6, 1). Received: beta_2={beta_2}")
        if total_steps > 0:
            learning_rate = LinearWarmup(learning_rate, total_steps, warmup_proportion, min_lr)
        super().__init__(learning_rate, weight_decay=weight_decay or None, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad
        self.sma_threshold = sma_threshold
        self.total_steps = total_steps
        self.warmup_proportion = warmup_proportion
        self.min_lr = min_lr

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.first = self.add_optimizer_variables(variables, "m")
        self.second = self.add_optimizer_variables(variables, "v")
        self.largest = self.add_optimizer_variables(variables, "vhat") if self.amsgrad else None

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        index = self._get_variable_index(variable)
        m, v = self.first[index], self.second[index]
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m), 1 - self.beta_1))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(gradient), v), 1 - self.beta_2))
        if self.largest is not None:
            self.assign(self.largest[index], ops.maximum(self.largest[index], v))
            v = self.largest[index]
        step = ops.cast(self.iterations + 1, "float32")
        length = self.sma_length(step)
        # 1 - beta^t, with no digits lost where beta^t is near 1.
        past_1, past_2 = (
            -ops.expm1(math.log(beta) * step) if beta else ops.ones(())
            for beta in (self.beta_1, self.beta_2)
        )
        momentum = m / ops.cast(past_1, dtype)
        rate = ops.cast(self.rectification(length), dtype)
        adaptive = rate * momentum / (ops.sqrt(v / ops.cast(past_2, dtype)) + self.epsilon)
        update = ops.where(length >= self.sma_threshold, adaptive, momentum)
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * update)

    def sma_length(self, step: Any) -> Any:
        """Length of the moving average at a step, counted from 1."""
        decay = -math.log(self.beta_2)
        x = decay * step
        # The formula subtracts nearly equal numbers: with beta_2 = 0.999 float32 would leave no
        # digit of l at step 1. So it is written as `L - 2 / decay + step * s(x)`, where
        # `s(x) = 2 / x - 2 / (e^x - 1)`, and s by its series for small x.
        series = 1 - x / 6 + x**3 / 360 - x**5 / 15120
        shape = ops.where(x < 0.5, series, 2 / x - 2 / ops.expm1(x))
        return self._longest - 2 / decay + step * shape

    def rectification(self, length: Any) -> Any:
        """The factor r of the adaptive step, 0 for averages up to length 4."""
        longest = self._longest
        scale = longest / ((longest - 4) * (longest - 2))
        long_enough = ops.maximum(length, 4.0)
        return ops.sqrt(scale * (long_enough - 4) * (long_enough - 2) / long_enough)

    @property
    def _longest(self) -> float:
        return 2 / (1 - self.beta_2) - 1

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.total_steps > 0:  # the schedule is made anew from the arguments
            config["learning_rate"] = config["learning_rate"]["config"]["learning_rate"]
        return {
            **config,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
            "sma_threshold": self.sma_threshold,
            "total_steps": self.total_steps,
            "warmup_proportion": self.warmup_proportion,
            "min_lr": self.min_lr,
        }
