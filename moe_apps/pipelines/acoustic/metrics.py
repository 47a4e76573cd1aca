"""How well sounds are told apart, by segment and by recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

from moe_apps.pipelines.acoustic.answers import Answer, by_recording
from moe_apps.pipelines.acoustic.extraction import Segments

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

CALIBRATION_BINS = 10


def score(answer: Answer, segments: Segments, classes: Sequence[str]) -> dict[str, Any]:
    """Figures of an answer for segments, ready for JSON.

    A recording's answer is the mean of its segments' probabilities (mean vote). The figures at
    the top are those by recording; `recording` and `segment` have all of both.
    """
    voted, _ = by_recording(answer, segments.recording)
    _, first = np.unique(segments.recording, return_index=True)
    recording = judged(voted, segments.label[first], classes)
    segment = judged(answer, segments.label, classes)
    head = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
    return {
        **{name: recording[name] for name in head},
        "segment_accuracy": segment["accuracy"],
        "recording": recording,
        "segment": segment,
    }


def judged(answer: Answer, truth: Ints, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro F1, recalls, confusion, areas, calibration.

    Intervals are Wilson's at 95 %. Classes that do not occur enter no mean.

    Example:
        >>> found = judged(Answer(np.eye(2)[[0, 0, 1, 1]]), np.array([0, 0, 1, 0]), ["a", "b"])
        >>> found["accuracy"], found["recall"]["a"]["recall"], found["confusion"]
        (0.75, 0.6666666666666666, [[2, 1], [0, 1]])
    """
    guess = answer.probability.argmax(axis=1)
    labels = list(range(len(classes)))
    present = sorted(set(truth.tolist()))
    hits = guess == truth
    return {
        "accuracy": float(hits.mean()),
        "interval": interval(int(hits.sum()), len(hits)),
        "count": len(truth),
        "balanced_accuracy": float(np.mean([hits[truth == label].mean() for label in present]))
        if len(present) < 2
        else float(balanced_accuracy_score(truth[np.isin(truth, present)], guess)),
        "macro_f1": float(
            f1_score(truth, guess, labels=present, average="macro", zero_division=0.0)
        ),
        "recall": {
            classes[label]: {
                "recall": float(hits[truth == label].mean()),
                "interval": interval(int(hits[truth == label].sum()), int((truth == label).sum())),
                "count": int((truth == label).sum()),
            }
            for label in present
        },
        "confusion": confusion_matrix(truth, guess, labels=labels).tolist(),
        "roc_auc": _by_class(roc_auc_score, truth, answer.probability, classes),
        "average_precision": _by_class(average_precision_score, truth, answer.probability, classes),
        "ece": calibration_error(answer.probability, truth) if answer.calibrated else None,
    }


def interval(hits: int, count: int) -> list[float]:
    """Wilson's interval of a share at 95 %.

    >>> [round(100 * edge, 1) for edge in interval(100, 116)]
    [78.8, 91.3]
    """
    found = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return [float(found.low), float(found.high)]


def calibration_error(probability: Floats, truth: Ints, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over equal bins.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599.

    >>> round(calibration_error(np.array([[0.8, 0.2]] * 5), np.array([0, 0, 0, 0, 1])), 6)
    0.0
    """
    confidence = probability.max(axis=1)
    hits = probability.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    rows_of = [place == number for number in range(bins)]
    gaps = [
        rows.mean() * abs(confidence[rows].mean() - hits[rows].mean())
        for rows in rows_of
        if rows.any()
    ]
    return float(sum(gaps))


def _by_class(
    area: Any, truth: Ints, probability: Floats, classes: Sequence[str]
) -> dict[str, float | None]:
    """A figure of each class against the others; None where it is all or nothing."""
    return {
        name: float(area(truth == label, probability[:, label]))
        if 0 < (truth == label).mean() < 1
        else None
        for label, name in enumerate(classes)
    }
