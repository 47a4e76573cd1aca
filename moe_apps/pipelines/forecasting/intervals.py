"""Prediction intervals for any forecaster, from its own recent errors, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.forecasting.forecaster import Answer
from moe_apps.pipelines.forecasting.windows import WindowedPanel, Windows

FloatArray = npt.NDArray[np.floating]

GRID = np.arange(1, 20) / 20
"""Quantiles by which the CRPS is approximated."""


def bounds(level: float) -> tuple[float, float]:
    """The two quantiles of a central interval.

    >>> [round(one, 3) for one in bounds(95)]
    [0.025, 0.975]
    """
    tail = (1 - level / 100) / 2
    return tail, 1 - tail


def fewest(levels: Sequence[float]) -> int:
    """How many errors the widest interval needs to have finite ends.

    >>> fewest([80, 95])
    39
    """
    return int(np.ceil(1 / bounds(max(levels))[0] - 1e-9)) - 1


def conformal_quantiles(errors: FloatArray, quantiles: Sequence[float]) -> FloatArray:
    """Quantiles of the error of the next forecast, by split conformal prediction.

    Of n errors that are exchangeable with the next one, it is at most the k-th smallest with
    probability of at least k / (n + 1). An upper quantile q takes k = ceil(q (n + 1)), a lower one
    mirrors it, so that an interval between them covers no less than it says.

    Args:
        errors: `[n, steps]`, target less forecast; NaN where there was no target.
        quantiles: in (0, 1).

    Returns:
        `[quantiles, steps]`; infinite where n is too small.

    Source: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World".

    >>> conformal_quantiles(np.arange(1.0, 10.0)[:, None], [0.1, 0.5, 0.9, 0.95])[:, 0].tolist()
    [1.0, 5.0, 9.0, inf]
    """
    if not len(errors):
        errors = np.full((1, errors.shape[1]), np.nan)
    ordered = np.sort(errors, axis=0)  # NaN last
    count = np.isfinite(errors).sum(axis=0)  # [steps]
    found = []
    for quantile in quantiles:
        if quantile >= 0.5:
            rank = np.ceil(quantile * (count + 1) - 1e-9).astype(int)
        else:
            rank = np.floor(quantile * (count + 1) + 1e-9).astype(int)
        inside = np.clip(rank, 1, np.maximum(count, 1)) - 1
        values = np.take_along_axis(ordered, inside[None], axis=0)[0]
        values = np.where(rank > count, np.inf, np.where(rank < 1, -np.inf, values))
        found.append(values)
    return np.array(found)


def pinball(target: FloatArray, forecast: FloatArray, quantile: Any) -> FloatArray:
    """Cost of a forecast quantile; twice its mean over all quantiles is the CRPS.

    >>> pinball(np.array([3.0, 1.0]), np.array([2.0, 2.0]), 0.9).round(3).tolist()
    [0.9, 0.1]
    """
    error = target - forecast
    return np.maximum(quantile * error, (quantile - 1) * error)


def winkler(target: FloatArray, low: FloatArray, high: FloatArray, level: float) -> FloatArray:
    """Interval score: the width, and for a miss its distance times 2 / (1 - level).

    >>> winkler(np.array([0.5, 2.0]), np.zeros(2), np.ones(2), 80).round(3).tolist()
    [1.0, 11.0]
    """
    miss = np.maximum(low - target, 0) + np.maximum(target - high, 0)
    return high - low + 2 / (1 - level / 100) * miss


class Judged(NamedTuple):
    """Consecutive test windows of one series and the errors that were known at the first."""

    forecast: FloatArray  # [n, horizon]
    target: FloatArray  # [n, horizon]
    observed: npt.NDArray[np.bool_]
    errors: FloatArray  # [recent windows, horizon]


def with_recent_errors(
    answer: Answer, data: WindowedPanel, windows: int, renewed: int
) -> Iterator[Judged]:
    """Test windows with the errors of the last `windows` forecasts whose targets had all been seen.

    At a test window's origin a forecaster knows how it did on earlier windows, of validation and
    of test: those that ended before. Their errors follow a change of season or regime, which those
    of a validation part months ago do not.

    Args:
        answer: the forecaster.
        data: the windows.
        windows: earlier windows whose errors are taken.
        renewed: test windows after which they are taken anew.
    """
    horizon = data.test.horizon
    for series in range(len(data.panel.series)):
        before = _of_series(answer, data.validation, series)
        test = _of_series(answer, data.test, series)
        rows = np.concatenate([before.rows, test.rows])
        errors = np.concatenate([before.errors, test.errors])
        for first in range(0, len(test.rows), renewed):
            seen = int(np.searchsorted(rows + horizon, test.rows[first], side="right"))
            part = slice(first, first + renewed)
            yield Judged(
                test.forecast[part],
                test.target[part],
                test.observed[part],
                errors[max(seen - windows, 0) : seen],
            )


class _Forecasts(NamedTuple):
    rows: npt.NDArray[np.int64]  # of the first target, ascending
    forecast: FloatArray
    target: FloatArray
    observed: npt.NDArray[np.bool_]
    errors: FloatArray


def _of_series(answer: Answer, windows: Windows, series: int) -> _Forecasts:
    index = np.flatnonzero(windows.series_index == series)
    shape = (len(index), windows.horizon)
    forecast, target = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    observed = np.zeros(shape, bool)
    done = 0
    for batch in windows.of(index):
        part = slice(done, done + len(batch.target))
        forecast[part], target[part] = answer(batch), batch.target
        observed[part] = batch.target_observed
        done = part.stop
    errors = np.where(observed, target - forecast, np.float32(np.nan))
    return _Forecasts(windows.target_rows(index), forecast, target, observed, errors)


def interval_scores(
    answer: Answer,
    data: WindowedPanel,
    levels: Sequence[float],
    *,
    windows: int = 720,
    renewed: int = 24,
) -> dict[str, Any]:
    """How often intervals hold what they should, how wide they are, and what they cost.

    Args:
        answer: the forecaster.
        data: the windows; test windows are scored.
        levels: of central intervals, in percent.
        windows, renewed: as in `with_recent_errors`.

    Returns:
        `levels`: by level `coverage` (percent of observed targets inside), `width` and `winkler`
        (interval score), scaled, and each of the three under `by_step`; `crps`, scaled, by 19
        quantiles, and `crps_by_step`; `without`: test windows that had too few earlier ones.

    Source: Gneiting and Raftery 2007, "Strictly Proper Scoring Rules, Prediction, and Estimation".
    """
    horizon = data.test.horizon
    ends = [one for level in levels for one in bounds(level)]
    count, crps = np.zeros(horizon), np.zeros(horizon)
    sums = np.zeros((3, len(levels), horizon))  # covered, width, winkler
    without = 0
    for judged in with_recent_errors(answer, data, windows, renewed):
        offsets = conformal_quantiles(judged.errors, [*ends, *GRID])
        if not np.isfinite(offsets).all():
            without += len(judged.forecast)
            continue
        observed = judged.observed
        count += observed.sum(axis=0)
        quantiles = judged.forecast[..., None] + offsets[len(ends) :].T  # [n, horizon, grid]
        costs = 2 * pinball(judged.target[..., None], quantiles, GRID).mean(axis=-1)
        crps += np.where(observed, costs, 0.0).sum(axis=0)
        for number, level in enumerate(levels):
            low, high = (judged.forecast + one for one in offsets[2 * number : 2 * number + 2])
            cost = winkler(judged.target, low, high, level)
            inside = (low <= judged.target) & (judged.target <= high)
            for total, values in zip(sums, (inside, high - low, cost), strict=True):
                total[number] += np.where(observed, values, 0.0).sum(axis=0)
    seen = np.where(count > 0, count, np.nan)
    every = count.sum() or np.nan
    names, scale = ("coverage", "width", "winkler"), (100.0, 1.0, 1.0)
    result: dict[str, Any] = {}
    for number, level in enumerate(levels):
        totals = {n: s * sums[i, number] for i, (n, s) in enumerate(zip(names, scale, strict=True))}
        result[f"{level:g}"] = {
            **{name: float(total.sum() / every) for name, total in totals.items()},
            "by_step": {name: (total / seen).tolist() for name, total in totals.items()},
        }
    return {
        "levels": result,
        "crps": float(crps.sum() / every),
        "crps_by_step": (crps / seen).tolist(),
        "without": without,
    }
