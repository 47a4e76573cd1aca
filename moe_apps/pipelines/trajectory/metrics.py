"""Errors of trajectories and of intentions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.calibration import calibration
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.labels import INTENTIONS, KEEP
from moe_apps.pipelines.trajectory.windows import Windows

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

MISS_DISTANCE = 2.0
"""Metres at the last step beyond which a prediction is a miss."""
CROSSING_STEP = 0.5
"""Seconds a bin of the time to crossing is wide."""
FALSE_ALARMS = 0.05
"""Share of windows without a change at which the time of anticipation is given."""


def score(answer: Answer, windows: Windows, config: TrajectoryConfig) -> dict[str, Any]:
    """Errors of predictions, ready for JSON.

    Trajectories, over all windows, in metres: `final_rmse` (root mean squared distance at the last
    step), `ade` and `fde` (mean distance over all steps, at the last one), `min_ade` and `min_fde`
    (of the best mode), `miss_rate` (last step of the best mode more than 2 m off), `nll`, and by
    second `rmse`, `rmse_longitudinal`, `rmse_lateral`; `rmse_lane_changes` is `rmse` over windows
    before a lane change.

    Intentions, over as many windows of each as the rarer change has (drawn by the seed; `natural`
    has all): `macro_f1`, `macro_f1_near` (of changes only windows at most `near_crossing` before
    it), `intention` with `accuracy`, `precision`, `recall`, `confusion` (rows truth), `auc` by
    class, `by_time_to_crossing`, `anticipation`. None where nothing is predicted or judged.
    """
    trajectory = _trajectory(answer, windows, config)
    found = calibration(answer, windows.future)
    return {
        **trajectory,
        "nll": None if found is None else found["nll"],
        **_intention(answer, windows, config),
        "calibration": found,
    }


def _trajectory(answer: Answer, windows: Windows, config: TrajectoryConfig) -> dict[str, Any]:
    names = ("final_rmse", "ade", "fde", "min_ade", "min_fde", "miss_rate")
    if answer.forecast is None or answer.modes is None:
        return dict.fromkeys(names)
    error = answer.forecast - windows.future  # (n, horizon, 2)
    distance = np.linalg.norm(error, axis=-1)
    of_modes = np.linalg.norm(answer.modes - windows.future[:, None], axis=-1)
    square = np.square(error, dtype=np.float64)
    changing = windows.intention > KEEP
    return {
        "final_rmse": float(np.sqrt(square[:, -1].sum(axis=-1).mean())),
        "ade": float(distance.mean()),
        "fde": float(distance[:, -1].mean()),
        "min_ade": float(of_modes.mean(axis=-1).min(axis=1).mean()),
        "min_fde": float(of_modes[..., -1].min(axis=1).mean()),
        "miss_rate": float((of_modes[..., -1].min(axis=1) > MISS_DISTANCE).mean()),
        "rmse": _by_second(square.sum(axis=-1), config),
        "rmse_longitudinal": _by_second(square[..., 0], config),
        "rmse_lateral": _by_second(square[..., 1], config),
        "rmse_lane_changes": _by_second(square[changing].sum(axis=-1), config),
        "rmse_by_step": np.sqrt(square.sum(axis=-1).mean(axis=0)).tolist(),
        "modes": answer.modes.shape[1],
        "windows": len(windows),
    }


def _by_second(square: Floats, config: TrajectoryConfig) -> dict[str, float] | None:
    """Root of the mean of `[n, horizon]` at each whole second."""
    if not len(square):
        return None
    rate = config.data.rate
    means = square.mean(axis=0)
    seconds = range(1, int(config.data.horizon + 1e-9) + 1)
    return {f"{second}s": float(np.sqrt(means[round(second * rate) - 1])) for second in seconds}


def _intention(answer: Answer, windows: Windows, config: TrajectoryConfig) -> dict[str, Any]:
    judged = np.flatnonzero(windows.judged)
    truth = windows.intention[judged]
    nothing = {"macro_f1": None, "macro_f1_near": None, "intention": None}
    if answer.probability is None or not (truth > KEEP).any() or not (truth == KEEP).any():
        return nothing
    probability = answer.probability[judged]
    guess = probability.argmax(axis=1)
    time = windows.to_crossing[judged]
    even = balanced(truth, config.seed)
    near_rows = np.flatnonzero((truth == KEEP) | (time <= config.evaluation.near_crossing + 1e-9))
    near = near_rows[balanced(truth[near_rows], config.seed)]
    return {
        "macro_f1": _report(truth[even], guess[even])["macro_f1"],
        "macro_f1_near": _report(truth[near], guess[near])["macro_f1"],
        "intention": {
            **_report(truth[even], guess[even]),
            "windows": len(even),
            "natural": {**_report(truth, guess), "windows": len(truth)},
            "auc": _auc(truth, probability),
            "by_time_to_crossing": _by_time(truth, guess, time, config),
            "anticipation": _anticipation(
                truth, probability, windows.row[judged], time, config.data.rate
            ),
        },
    }


def balanced(truth: Ints, seed: int) -> Ints:
    """Numbers of rows in which all classes are equally frequent, drawn by the seed.

    Of each class, as many as the rarest class that there is has.

    >>> balanced(np.array([0, 0, 0, 1, 2, 2]), seed=0).shape
    (3,)
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(truth == label) for label in range(len(INTENTIONS))]
    members = [rows for rows in members if len(rows)]
    fewest = min(map(len, members))
    return np.sort(np.concatenate([rng.choice(rows, fewest, replace=False) for rows in members]))


def _report(truth: Ints, guess: Ints) -> dict[str, Any]:
    """Accuracy, macro figures over the classes that occur, and the confusion matrix."""
    labels = list(range(len(INTENTIONS)))
    present = sorted(set(truth.tolist()))
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, guess, labels=labels, zero_division=0.0
    )
    return {
        "accuracy": float((truth == guess).mean()),
        "macro_f1": float(f1[present].mean()),
        "macro_precision": float(precision[present].mean()),
        "macro_recall": float(recall[present].mean()),
        "f1": dict(zip(INTENTIONS, f1.tolist(), strict=True)),
        "confusion": confusion_matrix(truth, guess, labels=labels).tolist(),
    }


def _auc(truth: Ints, probability: Floats) -> dict[str, float | None]:
    """Area under the ROC curve of each class against the others."""
    return {
        name: float(roc_auc_score(truth == label, probability[:, label]))
        if 0 < (truth == label).mean() < 1
        else None
        for label, name in enumerate(INTENTIONS)
    }


def _by_time(
    truth: Ints, guess: Ints, time: Floats, config: TrajectoryConfig
) -> list[dict[str, Any]]:
    """Macro F1 of windows that are so long before the crossing, beside as many that keep."""
    rows = []
    ends = np.arange(CROSSING_STEP, config.data.intention_window + 1e-9, CROSSING_STEP)
    for end in ends:
        inside = (time > end - CROSSING_STEP + 1e-9) & (time <= end + 1e-9) & (truth > KEEP)
        chosen = np.flatnonzero((truth == KEEP) | inside)
        if not inside.any():
            continue
        even = chosen[balanced(truth[chosen], config.seed)]
        rows.append(
            {
                "seconds": float(end),
                "macro_f1": _report(truth[even], guess[even])["macro_f1"],
                "recall": float((truth[inside] == guess[inside]).mean()),
                "windows": int(inside.sum()),
            }
        )
    return rows


def _anticipation(
    truth: Ints, probability: Floats, row: Ints, time: Floats, rate: float
) -> dict[str, float | int] | None:
    """How long before the crossing a change is first seen, on average, at 5 % of false alarms.

    The threshold on the probability of a change is the one that 5 % of the windows that keep
    exceed. A change that is never seen counts 0 s.
    """
    change = 1 - probability[:, KEEP]
    threshold = float(np.quantile(change[truth == KEEP], 1 - FALSE_ALARMS))
    before = (truth > KEEP) & np.isfinite(time)
    if not before.any():
        return None
    # Windows before one crossing have its row in the table in common.
    crossing = row[before] + np.round(time[before] * rate).astype(np.int64)
    seen = np.where(change[before] > threshold, time[before], 0.0)
    _, number = np.unique(crossing, return_inverse=True)
    first = np.zeros(number.max() + 1)
    np.maximum.at(first, number, seen)
    return {
        "false_alarms": FALSE_ALARMS,
        "threshold": threshold,
        "changes": len(first),
        "seen": float((first > 0).mean()),
        "mean_seconds": float(first.mean()),
    }
