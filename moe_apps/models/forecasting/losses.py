"""Training losses over the targets that exist."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


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


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class ObservedError(keras.losses.Loss):
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
        super().__init__(name=name, reduction=None, dtype="float32")
        if kind not in ("squared", "absolute", "huber"):
            raise ValueError(f'`kind` must be "squared", "absolute" or "huber". Received: {kind!r}')
        self.kind = kind
        self.delta = delta
        self.ahead = ahead
        self.weight_behind = weight_behind

    def call(self, y_true: Any, y_pred: Any) -> Any:
        exists = ops.isfinite(y_true)
        # Replaced before the difference is taken: a NaN behind a mask still spoils gradients.
        error = ops.where(exists, y_pred, 0.0) - ops.where(exists, y_true, 0.0)
        if self.kind == "squared":
            error = ops.square(error)
        elif self.kind == "absolute":
            error = ops.abs(error)
        else:
            bounded = ops.minimum(ops.abs(error), self.delta)
            error = bounded * (ops.abs(error) - 0.5 * bounded)
        weight = ops.cast(exists, "float32")
        if self.ahead:
            steps = y_pred.shape[1]
            behind = ops.arange(steps) < steps - self.ahead
            weight = weight * ops.where(behind, self.weight_behind, 1.0)[None]
        return ops.sum(weight * error) / ops.maximum(ops.sum(weight), 1e-6)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "delta": self.delta,
            "ahead": self.ahead,
            "weight_behind": self.weight_behind,
        }
