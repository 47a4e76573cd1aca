"""What a network has to be better than: majority, logistic regression, support vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from moe_apps.pipelines.acoustic.answers import Answer
from moe_apps.pipelines.acoustic.extraction import Segments

Floats = npt.NDArray[np.floating]

MOST_ROWS = 8000
"""Segments to train on, at most: the time of support vectors grows with their square."""
SVM_C = 3.0


def vectors(segments: Segments) -> dict[str, Floats]:
    """One vector a segment, by name: `spectrum` (the image's mean over time), `demon`, `both`."""
    found: dict[str, Floats] = {}
    if "image" in segments.inputs:
        found["spectrum"] = segments.inputs["image"].mean(axis=1)
    if "demon" in segments.inputs:
        found["demon"] = segments.inputs["demon"].reshape(len(segments), -1)
    if len(found) > 1:
        found["both"] = np.concatenate(list(found.values()), axis=1)
    return found


def baselines(train: Segments, classes: int, seed: int) -> dict[str, Callable[[Segments], Answer]]:
    """Trained baselines by name, as functions of segments.

    `svm_recording` is a machine with one vector a recording, the mean over its segments; every
    segment gets its recording's answer.
    """
    found: dict[str, Callable[[Segments], Answer]] = {"majority": _majority(train, classes)}
    for name, rows in vectors(train).items():
        found[f"logistic_regression_{name}"] = _trained(_logistic(), train, rows, name, seed)
        found[f"svm_{name}"] = _trained(_svm(), train, rows, name, seed)
    if len(np.unique(train.recording)) < len(train):
        found["svm_recording"] = _by_recording(train)
    return found


def _logistic() -> Any:
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
    )


def _svm() -> Any:
    return make_pipeline(StandardScaler(), SVC(C=SVM_C, class_weight="balanced"))


def _majority(train: Segments, classes: int) -> Callable[[Segments], Answer]:
    _, first = np.unique(train.recording, return_index=True)
    share = np.bincount(train.label[first], minlength=classes) / len(first)
    return lambda segments: Answer(np.tile(share, (len(segments), 1)))


def _trained(
    model: Any, train: Segments, rows: Floats, name: str, seed: int
) -> Callable[[Segments], Answer]:
    chosen = np.arange(len(train))
    if len(train) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:MOST_ROWS])
    model.fit(rows[chosen], train.label[chosen])
    return lambda segments: _answered(model, vectors(segments)[name])


def _by_recording(train: Segments) -> Callable[[Segments], Answer]:
    name = list(vectors(train))[-1]
    model = _svm()
    rows, label, _ = _means(train, name)
    model.fit(rows, label)

    def answer(segments: Segments) -> Answer:
        rows, _, place = _means(segments, name)
        found = _answered(model, rows)
        return Answer(found.probability[place], found.calibrated)

    return answer


def _means(segments: Segments, name: str) -> tuple[Floats, npt.NDArray[np.int64], Any]:
    _, first, place = np.unique(segments.recording, return_index=True, return_inverse=True)
    rows = vectors(segments)[name]
    total = np.zeros((len(first), rows.shape[1]))
    np.add.at(total, place, rows)
    return total / np.bincount(place)[:, None], segments.label[first], place


def _answered(model: Any, rows: Floats) -> Answer:
    if hasattr(model, "predict_proba"):
        return Answer(model.predict_proba(rows))
    # Distances to the borders: they order the classes, but are no probabilities.
    scores = model.decision_function(rows)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    return Answer(softmax(scores, axis=1), calibrated=False)
