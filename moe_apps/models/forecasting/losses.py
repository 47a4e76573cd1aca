"""Training losses over the targets that exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moe_apps.layers.addons import PinballLoss
from moe_apps.models.forecasting.student_t import student_t_log_density


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class PositionwiseHuber(keras.losses.Loss):
    """Huber error of the next p values from every position, over the targets that exist.

    For position t and step j the target is `series[t + 1 + j]`. Missing targets are NaN in the
    series, and those past its end do not exist; the loss is the sum of the existing errors
    divided by their number.

    Source: Shi et al. 2024, "Time-MoE", arXiv 2409.16040 (delta 2.0 is its released code's; the
    paper leaves it open).

    Args:
        delta: where the error turns from quadratic to linear. Default 2.0.
        first_position: positions before this one are left out. Default 0.

    Call arguments:
        y_true: the series `(batch, n)`, starting at the input's first point; NaN where missing.
        y_pred: `(batch, time, p)`, `time <= n`.

    Example:
        >>> loss = PositionwiseHuber()
        >>> float(loss(ops.array([[0.0, 1.0, 2.0]]), ops.array([[[1.0], [3.0]]])))  # 0 and 1 off
        0.25
    """

    def __init__(
        self,
        delta: float = 2.0,
        first_position: int = 0,
        name: str = "positionwise_huber",
    ) -> None:
        super().__init__(name=name, reduction=None, dtype="float32")
        self.delta = delta
        self.first_position = first_position

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = y_pred[:, self.first_position :]
        time, length = y_pred.shape[1], y_pred.shape[2]
        index = ops.arange(time)[:, None] + ops.arange(length)[None, :] + 1 + self.first_position
        known = ops.shape(y_true)[1]
        targets = ops.take(y_true, ops.minimum(index, known - 1), axis=1)  # (batch, time, p)
        exists = ops.logical_and(ops.isfinite(targets), (index < known)[None])
        # Replaced before the difference is taken: a NaN behind a mask still spoils gradients.
        error = ops.abs(ops.where(exists, targets, 0.0) - ops.where(exists, y_pred, 0.0))
        bounded = ops.minimum(error, self.delta)
        huber = bounded * (error - 0.5 * bounded)
        return ops.sum(huber) / ops.maximum(ops.sum(ops.cast(exists, "float32")), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "delta": self.delta, "first_position": self.first_position}


class ObservedCost(keras.losses.Loss):
    """Mean cost over the targets that were observed; NaN marks the others.

    A subclass says what a step costs in `cost`.

    Args:
        ahead: last steps that are the future; 0: all are.
        weight_behind: weight of the steps before those.

    Call arguments:
        y_true: `(batch, steps)`; NaN where there is no target.
        y_pred: `(batch, steps)`, or `(batch, steps, numbers)` of a head.
    """

    def __init__(self, ahead: int = 0, weight_behind: float = 1.0, name: str | None = None) -> None:
        super().__init__(name=name, reduction=None, dtype="float32")
        self.ahead = ahead
        self.weight_behind = weight_behind

    def cost(self, target: Any, forecast: Any) -> Any:
        """Cost of every step, `(batch, steps)`, of targets that are all finite."""
        raise NotImplementedError

    def call(self, y_true: Any, y_pred: Any) -> Any:
        exists = ops.isfinite(y_true)
        # Replaced before the difference is taken: a NaN behind a mask still spoils gradients.
        cost = self.cost(ops.where(exists, y_true, 0.0), y_pred)
        weight = ops.cast(exists, "float32")
        if self.ahead:
            steps = y_pred.shape[1]
            behind = ops.arange(steps) < steps - self.ahead
            weight = weight * ops.where(behind, self.weight_behind, 1.0)[None]
        return ops.sum(weight * cost) / ops.maximum(ops.sum(weight), 1e-6)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "ahead": self.ahead, "weight_behind": self.weight_behind}


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class ObservedError(ObservedCost):
    """Mean error over the targets that were observed; NaN marks the others.

    Args:
        kind: "squared", "absolute", or "huber".
        delta: where "huber" turns from quadratic to linear.
        ahead: last steps that are the future; 0: all are.
        weight_behind: weight of the steps before those.

    Call arguments:
        y_true, y_pred: of one shape; NaN in `y_true` where there is no target.

    Example:
        >>> loss = ObservedError("absolute")
        >>> float(loss(ops.array([[1.0, float("nan")]]), ops.array([[3.0, 9.0]])))
        2.0
    """

    def __init__(
        self,
        kind: str = "squared",
        delta: float = 2.0,
        ahead: int = 0,
        weight_behind: float = 1.0,
        name: str = "observed_error",
    ) -> None:
        super().__init__(ahead, weight_behind, name)
        if kind not in ("squared", "absolute", "huber"):
            raise ValueError(f'`kind` must be "squared", "absolute" or "huber". Received: {kind!r}')
        self.kind = kind
        self.delta = delta

    def cost(self, target: Any, forecast: Any) -> Any:
        error = forecast - target
        if self.kind == "squared":
            return ops.square(error)
        if self.kind == "absolute":
            return ops.abs(error)
        bounded = ops.minimum(ops.abs(error), self.delta)
        return bounded * (ops.abs(error) - 0.5 * bounded)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "delta": self.delta}


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class ObservedPinball(ObservedCost):
    """Mean pinball loss of several quantiles over the targets that were observed.

    Args:
        quantiles: in (0, 1), one for each entry of the last axis of `y_pred`.
        ahead, weight_behind: as in `ObservedCost`.

    Call arguments:
        y_true: `(batch, steps)`; NaN where there is no target.
        y_pred: `(batch, steps, quantiles)`.

    Source: Koenker & Bassett 1978, "Regression Quantiles", Econometrica 46.

    Example:
        >>> loss = ObservedPinball([0.1, 0.9])  # costs of 0.1 * 2 and 0.9 * 2
        >>> round(float(loss(ops.array([[3.0]]), ops.array([[[1.0, 1.0]]]))), 4)
        1.0
    """

    def __init__(
        self,
        quantiles: Sequence[float],
        ahead: int = 0,
        weight_behind: float = 1.0,
        name: str = "observed_pinball",
    ) -> None:
        super().__init__(ahead, weight_behind, name)
        self.quantiles = tuple(quantiles)
        self._pinball = PinballLoss(self.quantiles, reduction=None)

    def cost(self, target: Any, forecast: Any) -> Any:
        targets = ops.broadcast_to(target[..., None], ops.shape(forecast))
        return self._pinball.call(targets, forecast)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantiles": self.quantiles}


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class ObservedStudentT(ObservedCost):
    """Mean negative log-likelihood under Student's t over the targets that were observed.

    Args:
        ahead, weight_behind: as in `ObservedCost`.

    Call arguments:
        y_true: `(batch, steps)`; NaN where there is no target.
        y_pred: `(batch, steps, 3)`: location, scale and degrees of freedom.

    Example:
        >>> loss = ObservedStudentT()  # a likelihood of 0.3536 at the centre
        >>> round(float(loss(ops.array([[5.0]]), ops.array([[[5.0, 1.0, 2.0]]]))), 4)
        1.0397
    """

    def __init__(
        self, ahead: int = 0, weight_behind: float = 1.0, name: str = "observed_student_t"
    ) -> None:
        super().__init__(ahead, weight_behind, name)

    def cost(self, target: Any, forecast: Any) -> Any:
        location, scale, freedom = (forecast[..., number] for number in range(3))
        return -student_t_log_density((target - location) / scale, freedom) + ops.log(scale)
