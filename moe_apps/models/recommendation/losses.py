"""Losses of tasks whose labels may be missing."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

Kind = Literal["binary_crossentropy", "mean_squared_error", "mean_absolute_error", "huber"]


@keras.saving.register_keras_serializable(package="moe_apps.recommendation")
class TaskLoss(keras.losses.Loss):
    """Mean of a loss over the rows that have a label: `sum_b m_b l(y_b, p_b) / max(1, sum_b m_b)`.

    A label of NaN says that the row is not one of this task's, so each task is averaged over its
    own sample space, as in Tang et al. 2020, "Progressive Layered Extraction", RecSys.

    Args:
        kind: `binary_crossentropy`, `mean_squared_error`, `mean_absolute_error` or `huber`.
        from_logits: for binary_crossentropy, whether outputs are logits. Default True.

    Example:
        >>> loss = TaskLoss("mean_squared_error")
        >>> float(loss(ops.array([1.0, float("nan")]), ops.array([3.0, 7.0])))
        4.0
    """

    def __init__(self, kind: Kind, from_logits: bool = True, name: str = "task_loss") -> None:
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.kind = kind
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.cast(y_pred, "float32")
        y_true = ops.cast(y_true, "float32")
        present = ops.cast(ops.logical_not(ops.isnan(y_true)), "float32")
        # The gradient of a branch not taken would be NaN with the label in it.
        known = ops.where(present > 0, y_true, 0.0)
        losses = self._losses(known, y_pred) * present
        return losses / ops.maximum(ops.sum(present), 1.0)

    def _losses(self, y: Any, p: Any) -> Any:
        if self.kind == "binary_crossentropy":
            return ops.binary_crossentropy(y, p, from_logits=self.from_logits)
        error = p - y
        if self.kind == "mean_squared_error":
            return ops.square(error)
        size = ops.abs(error)
        if self.kind == "mean_absolute_error":
            return size
        return ops.where(size <= 1, 0.5 * ops.square(error), size - 0.5)

    def get_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "from_logits": self.from_logits, "name": self.name}
