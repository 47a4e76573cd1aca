"""Which expert serves which task, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from moe_apps.models.trajectory.tasks import TASKS
from moe_apps.pipelines.specialisation import specialisation
from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.labels import INTENTIONS, KEEP
from moe_apps.pipelines.trajectory.metrics import CROSSING_STEP
from moe_apps.pipelines.trajectory.windows import Windows

Floats = npt.NDArray[np.floating]


def routing_summary(answer: Answer, windows: Windows, intention_window: float) -> dict[str, Any]:
    """Gate weights over windows, ready for JSON; all experts serve all windows.

    Returns:
        Empty where there are no gates; else, by task: `load` (mean weight of each expert),
        `load_entropy` (its entropy over the most there can be), `gate_entropy` (mean of the
        entropy of single windows over the same), `by_intention` (mean weights for each true
        intention), `specialisation` (mutual information of intention and expert over the
        experts' entropy), and `over_time`: for each side, mean weights `[bins][experts]` by
        `seconds` to the crossing.
    """
    if answer.gates is None:
        return {}
    gates = answer.gates.astype(np.float64)
    summary: dict[str, Any] = {"experts": gates.shape[-1], "windows": len(gates), "tasks": {}}
    for number, task in enumerate(TASKS):
        weights = gates[:, number]
        by_intention = {
            name: weights[windows.judged & (windows.intention == label)]
            for label, name in enumerate(INTENTIONS)
        }
        by_intention = {name: rows for name, rows in by_intention.items() if len(rows)}
        load, most = weights.mean(axis=0), np.log(max(weights.shape[-1], 2))
        summary["tasks"][task] = {
            "load": load.tolist(),
            "load_entropy": float(entr(load).sum(axis=-1) / most),
            "gate_entropy": float(entr(weights).sum(axis=-1).mean() / most),
            "by_intention": {
                name: rows.mean(axis=0).tolist() for name, rows in by_intention.items()
            },
            "specialisation": specialisation(list(by_intention.values())),
            "over_time": _over_time(weights, windows, intention_window),
        }
    return summary


def _over_time(weights: Floats, windows: Windows, longest: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, name in enumerate(INTENTIONS):
        of_side = windows.judged & (windows.intention == label)
        if label == KEEP or not of_side.any():
            continue
        bins = np.ceil(windows.to_crossing[of_side] / CROSSING_STEP - 1e-9).astype(np.int64)
        seconds, means = [], []
        for number in range(1, round(longest / CROSSING_STEP) + 1):
            rows = weights[of_side][bins == number]
            if len(rows):
                seconds.append(number * CROSSING_STEP)
                means.append(rows.mean(axis=0).tolist())
        found[name] = {"seconds": seconds, "weights": means}
    return found
