"""How good predictions of a task are: exact AUC, GAUC, log loss, calibration, errors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sklearn_metrics

from moe_apps.pipelines.recommendation.schema import Task
from moe_apps.pipelines.recommendation.table import ABSENT, Codes

Labels = npt.NDArray[np.floating]
Scores = npt.NDArray[np.floating]
Figures = dict[str, float | None]

BINS = 10
_LEAST = 1e-7  # probabilities are kept this far from 0 and 1, as in float32

HIGHER_IS_BETTER = {
    "auc": True,
    "gauc": True,
    "ndcg": True,
    "log_loss": False,
    "rmse": False,
    "mae": False,
}


def auc(labels: Labels, scores: Scores) -> float | None:
    """Exact area under the ROC curve: the share of pairs in order, ties counting half.

    `keras.metrics.AUC` approximates it from 200 thresholds, which is off where most scores are
    small. None when one class is absent.

    Example:
        >>> auc(np.array([0, 1, 1, 0]), np.array([0.1, 0.4, 0.1, 0.05]))
        0.875
    """
    if not 0 < np.mean(labels) < 1:
        return None
    return float(sklearn_metrics.roc_auc_score(labels, scores))


def gauc(
    labels: Labels,
    scores: Scores,
    groups: npt.NDArray[np.integer],
    weights: Literal["rows", "positives", "equal"] = "rows",
) -> float | None:
    """Mean of the groups' AUC, over groups that have both classes.

    Args:
        labels: 0 and 1, `[rows]`.
        scores: `[rows]`.
        groups: Group of each row, such as its user, `[rows]`; negative for none.
        weights: What a group weighs: its rows (impressions), its positives, or 1.

    Example:
        >>> labels, scores = np.array([0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.9, 0.3, 0.1])
        >>> gauc(labels, scores, np.array([0, 0, 1, 1, -1]))
        0.5
    """
    inside = groups >= 0
    labels, scores, groups = labels[inside], scores[inside], groups[inside]
    if not len(groups):
        return None
    ranks = pd.Series(scores).groupby(groups).rank().to_numpy()
    rows = np.bincount(groups).astype(float)
    positives = np.bincount(groups, labels)
    negatives = rows - positives
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return None
    above = np.bincount(groups, ranks * labels) - positives * (positives + 1) / 2
    each = above[both] / (positives * negatives)[both]
    weight = {"rows": rows, "positives": positives, "equal": np.ones_like(rows)}[weights][both]
    return float(np.average(each, weights=weight))


def log_loss(labels: Labels, probabilities: Scores) -> float:
    """Mean cross entropy in nats.

    Example:
        >>> round(log_loss(np.array([1, 0]), np.array([0.5, 0.5])), 4)
        0.6931
    """
    p = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    return float(-np.mean(np.where(labels > 0, np.log(p), np.log1p(-p))))


def normalised_entropy(labels: Labels, probabilities: Scores) -> float | None:
    """Log loss over that of always saying the base rate (He et al. 2014, Facebook); below 1 is
    better than nothing learned. None when one class is absent.

    Example:
        >>> normalised_entropy(np.array([1, 0]), np.array([0.5, 0.5]))
        1.0
    """
    rate = float(np.mean(labels))
    if not 0 < rate < 1:
        return None
    return log_loss(labels, probabilities) / log_loss(labels, np.full(len(labels), rate))


def calibration_ratio(labels: Labels, probabilities: Scores) -> float | None:
    """Mean probability over base rate: above 1 promises too much. None without a positive."""
    rate = float(np.mean(labels))
    return float(np.mean(probabilities, dtype=np.float64)) / rate if rate else None


def calibration_curve(labels: Labels, probabilities: Scores, bins: int = BINS) -> pd.DataFrame:
    """Bins of (nearly) equally many rows by probability: `predicted`, `observed`, `rows`.

    Rows of one probability stay in one bin, so that there may be fewer bins.

    Example:
        >>> calibration_curve(np.array([0, 1, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9]), bins=2)
           predicted  observed  rows
        0        0.1       0.5     2
        1        0.9       1.0     2
    """
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, probabilities, side="left")
    rows = np.bincount(place)
    filled = rows > 0
    predicted = np.bincount(place, probabilities.astype(np.float64))[filled] / rows[filled]
    observed = np.bincount(place, labels.astype(np.float64))[filled] / rows[filled]
    return pd.DataFrame({"predicted": predicted, "observed": observed, "rows": rows[filled]})


def calibration_error(labels: Labels, probabilities: Scores, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of observed from predicted over equal bins."""
    curve = calibration_curve(labels, probabilities, bins)
    return float(np.average((curve["predicted"] - curve["observed"]).abs(), weights=curve["rows"]))


def score_task(
    task: Task, labels: Labels, predictions: Scores, users: Codes | None = None
) -> Figures:
    """All figures of one task over its rows.

    Args:
        task: The task.
        labels: `[rows]`; rows of NaN are not the task's and are left out.
        predictions: `[rows]`: probabilities, or values for regression.
        users: Users of the rows, for `gauc` (weighted by rows, users of both classes only).

    Returns:
        For `binary`: auc, gauc, log_loss, normalised_entropy, calibration_ratio,
        calibration_error, base_rate, rows; for `regression`: rmse, mae, r2, mean_label, rows.
        None where a figure is not defined.

    Example:
        >>> task = Task(name="like", label="like")
        >>> score_task(task, np.array([1.0, 0.0, np.nan]), np.array([0.8, 0.3, 0.5]))["auc"]
        1.0
    """
    inside = ~np.isnan(labels)
    labels, predictions = labels[inside], predictions[inside].astype(np.float64)
    if not len(labels):
        return {task.metric: None, "rows": 0}
    if task.kind == "regression":
        return _regression(labels.astype(np.float64), predictions)
    groups = np.full(len(labels), ABSENT) if users is None else users.codes[inside]
    return {
        "auc": auc(labels, predictions),
        "gauc": gauc(labels, predictions, groups),
        "log_loss": log_loss(labels, predictions),
        "normalised_entropy": normalised_entropy(labels, predictions),
        "calibration_ratio": calibration_ratio(labels, predictions),
        "calibration_error": calibration_error(labels, predictions),
        "base_rate": float(np.mean(labels)),
        "rows": len(labels),
    }


def _regression(labels: Labels, predictions: Scores) -> Figures:
    error = predictions - labels
    spread = float(np.var(labels))
    return {
        "rmse": float(np.sqrt(np.mean(np.square(error)))),
        "mae": float(np.mean(np.abs(error))),
        "r2": 1 - float(np.mean(np.square(error))) / spread if spread else None,
        "mean_label": float(np.mean(labels)),
        "rows": len(labels),
    }
