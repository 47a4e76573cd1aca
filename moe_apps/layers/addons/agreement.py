"""Metrics of agreement between labels and predictions, from a confusion matrix."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops


class _ConfusionMetric(keras.metrics.Metric):
    """Keeps the matrix `(true class, predicted class)` of summed sample weights."""

    def __init__(self, num_classes: int, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        if num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2. Received: {num_classes}")
        self.num_classes = num_classes
        self.conf_mtx = self.add_variable(
            (num_classes, num_classes), initializer="zeros", name="conf_mtx"
        )

    def _count(self, true: Any, predicted: Any, sample_weight: Any) -> None:
        """Add classes `(samples,)` of any integer or whole float type."""
        classes = [ops.cast(ops.reshape(c, (-1,)), "int32") for c in (true, predicted)]
        if sample_weight is None:
            weights = ops.ones_like(classes[0], dtype=self.dtype)
        else:
            weights = ops.reshape(ops.cast(sample_weight, self.dtype), (-1,))
        shape = (self.num_classes, self.num_classes)
        self.conf_mtx.assign_add(ops.scatter(ops.stack(classes, axis=-1), weights, shape))

    def _shares(self) -> tuple[Any, Any, Any]:
        """The matrix with sum 1 (all 0 without samples), and its sums of rows and columns."""
        shares = ops.divide_no_nan(self.conf_mtx, ops.sum(self.conf_mtx))
        return shares, ops.sum(shares, axis=1), ops.sum(shares, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="moe_apps")
class MatthewsCorrelationCoefficient(_ConfusionMetric):
    """Correlation between labels and predictions: 1 all right, 0 as good as chance.

    With the shares `c` of the confusion matrix and its sums of rows `t` and columns `p`:
    `(trace(c) - t.p) / sqrt((1 - p.p) (1 - t.t))`; 0 where that is 0 / 0.

    Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation
    coefficient", Computational Biology and Chemistry 28.

    Args:
        num_classes: number of classes, at least 2.

    Call arguments:
        y_true: `(batch, classes)`, one-hot.
        y_pred: `(batch, classes)`, scores.
        sample_weight: `(batch,)`.

    Example:
        >>> metric = MatthewsCorrelationCoefficient(num_classes=2)
        >>> true = ops.array([[0, 1], [0, 1], [0, 1], [1, 0]])
        >>> predicted = ops.array([[0, 1], [1, 0], [0, 1], [0, 1]])
        >>> round(float(metric(true, predicted)), 4)
        -0.3333
    """

    def __init__(
        self, num_classes: int, name: str = "MatthewsCorrelationCoefficient", dtype: Any = None
    ) -> None:
        super().__init__(num_classes, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count(ops.argmax(y_true, axis=1), ops.argmax(y_pred, axis=1), sample_weight)

    def result(self) -> Any:
        shares, true, predicted = self._shares()
        covariance = ops.trace(shares) - ops.sum(true * predicted)
        spread = (1 - ops.sum(ops.square(predicted))) * (1 - ops.sum(ops.square(true)))
        return ops.divide_no_nan(covariance, ops.sqrt(ops.maximum(spread, 0.0)))


@keras.saving.register_keras_serializable(package="moe_apps")
class CohenKappa(_ConfusionMetric):
    """Agreement beyond chance of two sets of labels: 1 all agree, 0 as often as by chance.

    `1 - sum(w * c) / sum(w * t p)`, with the shares `c` of the confusion matrix, its sums of rows
    `t` and columns `p`, and the weight `w` of a disagreement between classes i and j. 0 where
    nothing can be said: before the first sample, and while all labels are one class (where
    tensorflow-addons gave NaN).

    Sources: Cohen 1960, Educational and Psychological Measurement 20; Cohen 1968, "Weighted
    kappa", Psychological Bulletin 70.

    Args:
        num_classes: number of classes, at least 2. With 2, labels are 0 and 1 `(batch,)`, and
            predictions above 0.5 count as 1.
        weightage: None weighs all disagreements 1, "linear" `|i - j|`, "quadratic" `(i - j)^2`.
        sparse_labels: `y_true` has class numbers `(batch,)`, not one-hot rows. Default False.
        regression: `y_pred` `(batch, 1)` is rounded to a class number. Default False.

    Call arguments:
        y_true: `(batch, classes)` or `(batch,)`, see `sparse_labels`.
        y_pred: scores `(batch, classes)`, or class numbers `(batch,)`.
        sample_weight: `(batch,)`.

    Example:
        >>> metric = CohenKappa(num_classes=5, sparse_labels=True)
        >>> kappa = metric(ops.array([4, 4, 3, 4, 2, 4, 1, 1]), ops.array([4, 4, 3, 4, 4, 2, 1, 1]))
        >>> round(float(kappa), 4)
        0.619
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "cohen_kappa",
        weightage: Literal["linear", "quadratic"] | None = None,
        sparse_labels: bool = False,
        regression: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_classes, name, dtype)
        if weightage not in (None, "linear", "quadratic"):
            raise ValueError(
                f'`weightage` must be None, "linear" or "quadratic". Received: {weightage!r}'
            )
        self.weightage = weightage
        self.sparse_labels = sparse_labels
        self.regression = regression

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if self.num_classes == 2:
            y_pred = y_pred > 0.5
        else:
            if not self.sparse_labels:
                y_true = ops.argmax(y_true, axis=1)
            if self.regression:
                y_pred = ops.round(ops.abs(y_pred))
            elif len(y_pred.shape) > 1:
                y_pred = ops.argmax(y_pred, axis=-1)
        self._count(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        shares, true, predicted = self._shares()
        rank = ops.arange(self.num_classes, dtype=self.dtype)
        distance = ops.abs(rank[:, None] - rank[None, :])
        if self.weightage is None:
            distance = ops.minimum(distance, 1)
        elif self.weightage == "quadratic":
            distance = ops.square(distance)
        chance = ops.sum(distance * true[:, None] * predicted[None, :])
        kappa = 1 - ops.divide_no_nan(ops.sum(distance * shares), chance)
        return ops.where(chance > 0, kappa, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weightage": self.weightage,
            "sparse_labels": self.sparse_labels,
            "regression": self.regression,
        }
