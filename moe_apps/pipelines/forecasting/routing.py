"""Which expert took what: shares by hour of day, weekday, season and series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import entr

from moe_apps.pipelines.forecasting.shuffled_control import ShuffledControl
from moe_apps.pipelines.forecasting.windows import Batch, WindowedPanel, Windows

FloatArray = npt.NDArray[np.floating]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SEASONS = ("Dec-Feb", "Mar-May", "Jun-Aug", "Sep-Nov")


def routing_summary(
    routing: Callable[[Batch], FloatArray], windows: Windows, data: WindowedPanel
) -> dict[str, Any]:
    """Routing over the history of windows that do not overlap, so that each point counts once.

    Where a window is routed as a whole, every window counts, at the time of its first target.

    Args:
        routing: windows to weights `[n, tokens, layers, experts]`, tokens being the points of
            the history, or 1.
        windows: where to look, usually the test windows.
        data: the panel they are of.

    Returns:
        `load` `[layers][experts]`: share of (point, choice) pairs; `load_entropy` `[layers]`:
        entropy of the load over its maximum, 1 when all experts are equally busy;
        `active_experts`: mean number per point and layer; `points`; and under `by_hour`,
        `by_weekday`, `by_season` (where the time step is fine enough) and `by_series` a dict of
        group name to weight shares `[layers][experts]`; and `specialisation`, by factor and layer:
        the mutual information of factor and expert over the entropy of the experts, 0 for none;
        and `control`, the same with shuffled labels (see `ShuffledControl`).
    """
    groups: dict[str, dict[str, FloatArray]] = {}
    chosen: Any = 0
    points = 0
    control = ShuffledControl(len(np.unique(windows.series_index)))
    for weights, labels in _weights_with_labels(routing, windows, data):
        chosen = chosen + (weights != 0).sum(axis=0)  # (layers, experts)
        points += len(weights)
        control.add(weights, labels)
        for factor, names in labels.items():
            for name in pd.unique(names):
                totals = groups.setdefault(factor, {})
                part = weights[names == name].sum(axis=0, dtype=np.float64)
                totals[name] = totals.get(name, 0.0) + part
    load = chosen / chosen.sum(axis=-1, keepdims=True)
    summary: dict[str, Any] = {
        "load": load.tolist(),
        "load_entropy": (entr(load).sum(axis=-1) / np.log(max(load.shape[-1], 2))).tolist(),
        "active_experts": float(chosen.sum() / points / len(load)),
        "points": points,
        "specialisation": {},
    }
    for factor, totals in groups.items():
        ordered = dict(sorted(totals.items())) if factor == "hour" else totals
        for named, order in ("weekday", WEEKDAYS), ("season", SEASONS):
            if factor == named:
                ordered = {one: totals[one] for one in order if one in totals}
        stacked = np.stack(list(ordered.values()))  # (groups, layers, experts)
        shares = stacked / stacked.sum(axis=-1, keepdims=True)
        summary[f"by_{factor}"] = dict(zip(ordered, shares.tolist(), strict=True))
        summary["specialisation"][factor] = _specialisation(stacked).tolist()
    summary["control"] = control.result(_specialisation)
    return summary


def _weights_with_labels(
    routing: Callable[[Batch], FloatArray], windows: Windows, data: WindowedPanel
) -> Iterator[tuple[FloatArray, dict[str, npt.NDArray[Any]]]]:
    """Per series: weights of all points `[points, layers, experts]` and each point's labels."""
    for series in np.unique(windows.series_index):
        of_series = np.flatnonzero(windows.series_index == series)
        rows = windows.target_rows(of_series) - windows.look_back  # first row of the history
        apart = _not_overlapping(rows, windows.look_back)
        weights = routing(windows.gather(of_series[apart]))
        if weights.shape[1] == 1 < windows.look_back:
            weights = np.concatenate([routing(batch) for batch in windows.of(of_series)])
            points = rows + windows.look_back
        else:
            points = (rows[apart][:, None] + np.arange(windows.look_back)).reshape(-1)
        weights = weights.reshape(-1, *weights.shape[2:])
        names = np.full(len(points), data.panel.series[series].name, dtype=object)
        labels: dict[str, npt.NDArray[Any]] = {"series": names}
        times = data.panel.times(data.panel.series[series])
        if isinstance(times, pd.DatetimeIndex):
            step = times[1] - times[0]
            if step < pd.Timedelta(days=1):
                hours = times.hour[points]
                labels["hour"] = np.array([f"{hour:02d}" for hour in hours], dtype=object)
            if step <= pd.Timedelta(days=1):
                labels["weekday"] = np.array(WEEKDAYS, dtype=object)[times.day_of_week[points]]
            if step <= pd.Timedelta(days=92):
                labels["season"] = np.array(SEASONS, dtype=object)[times.month[points] % 12 // 3]
        yield weights, labels


def _not_overlapping(rows: npt.NDArray[np.int64], length: int) -> list[int]:
    kept: list[int] = []
    for number, row in enumerate(rows):
        if not kept or row >= rows[kept[-1]] + length:
            kept.append(number)
    return kept


def _specialisation(weights: FloatArray) -> FloatArray:
    """Mutual information of group and expert over the experts' entropy, `[layers]`."""
    joint = weights / weights.sum(axis=(0, 2), keepdims=True)  # (groups, layers, experts)
    by_layer = joint.transpose(1, 0, 2)  # (layers, groups, experts)
    experts, factor = (
        entr(by_layer.sum(axis=1)).sum(axis=-1),
        entr(by_layer.sum(axis=2)).sum(axis=-1),
    )
    both = entr(by_layer.reshape(len(by_layer), -1)).sum(axis=-1)
    return np.maximum(experts + factor - both, 0.0) / np.where(experts > 0, experts, 1.0)
