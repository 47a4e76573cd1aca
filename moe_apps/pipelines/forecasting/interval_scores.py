"""How good prediction intervals are: coverage, width, interval score, CRPS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.forecasting.forecaster import Answer
from moe_apps.pipelines.forecasting.intervals import GRID, FloatArray, asked_quantiles, calibrated
from moe_apps.pipelines.forecasting.windows import WindowedPanel, Windows


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

    forecast: FloatArray  # [n, horizon], or quantiles [n, horizon, probabilities]
    target: FloatArray  # [n, horizon]
    observed: npt.NDArray[np.bool_]
    errors: FloatArray  # [recent windows, ...] as the forecast


def with_recent_errors(
    answer: Answer, data: WindowedPanel, windows: int, renewed: int
) -> Iterator[Judged]:
    """Test windows with the errors of the last `windows` forecasts whose targets had all been seen.

    At a test window's origin a forecaster knows how it did on earlier windows, of validation and
    of test: those that ended before. Their errors follow a change of season or regime, which those
    of a validation part months ago do not.

    Args:
        answer: the forecaster, of values or of quantiles.
        data: the windows.
        windows: earlier windows whose errors are taken.
        renewed: test windows after which they are taken anew.
    """
    horizon = data.test.horizon
    for series in range(len(data.panel.series)):
        test = _of_series(answer, data.test, series)
        if test is None:
            continue
        before = _of_series(answer, data.validation, series)
        if before is None:
            before = _Forecasts(
                test.rows[:0],
                test.forecast[:0],
                test.target[:0],
                test.observed[:0],
                test.errors[:0],
            )
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


def _of_series(answer: Answer, windows: Windows, series: int) -> _Forecasts | None:
    index = np.flatnonzero(windows.series_index == series)
    if not len(index):
        return None
    batches = [(answer(batch), batch.target, batch.target_observed) for batch in windows.of(index)]
    forecast, target, observed = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    truth = np.where(observed, target, np.float32(np.nan))
    errors = (truth if forecast.ndim == 2 else truth[..., None]) - forecast
    return _Forecasts(windows.target_rows(index), forecast, target, observed, errors)


class IntervalTotals:
    """Sums up what intervals of test windows hold and cost.

    Args:
        levels: of central intervals, in percent.
        horizon: steps.
    """

    def __init__(self, levels: Sequence[float], horizon: int) -> None:
        self.levels = levels
        self.quantiles = (*asked_quantiles(levels), *GRID.tolist())
        self.without = 0
        self._count, self._crps = np.zeros((2, horizon))
        self._sums = np.zeros((3, len(levels), horizon))  # covered, width, winkler

    def add(self, judged: Judged, quantiles: FloatArray) -> None:
        """Add windows whose `quantiles` `[n, horizon, self.quantiles]` were forecast."""
        if not np.isfinite(quantiles).all():
            self.without += len(quantiles)
            return
        observed, target = judged.observed, judged.target
        self._count += observed.sum(axis=0)
        ends = 2 * len(self.levels)
        costs = 2 * pinball(target[..., None], quantiles[..., ends:], GRID).mean(axis=-1)
        self._crps += np.where(observed, costs, 0.0).sum(axis=0)
        for number, level in enumerate(self.levels):
            low, high = quantiles[..., 2 * number], quantiles[..., 2 * number + 1]
            cost = winkler(target, low, high, level)
            inside = (low <= target) & (target <= high)
            for total, values in zip(self._sums, (inside, high - low, cost), strict=True):
                total[number] += np.where(observed, values, 0.0).sum(axis=0)

    def result(self) -> dict[str, Any]:
        """As `interval_scores` gives it."""
        seen = np.where(self._count > 0, self._count, np.nan)
        every = self._count.sum() or np.nan
        names, scale = ("coverage", "width", "winkler"), (100.0, 1.0, 1.0)
        result: dict[str, Any] = {}
        for number, level in enumerate(self.levels):
            pairs = enumerate(zip(names, scale, strict=True))
            totals = {name: size * self._sums[row, number] for row, (name, size) in pairs}
            result[f"{level:g}"] = {
                **{name: float(total.sum() / every) for name, total in totals.items()},
                "by_step": {name: (total / seen).tolist() for name, total in totals.items()},
            }
        return {
            "levels": result,
            "crps": float(self._crps.sum() / every),
            "crps_by_step": (self._crps / seen).tolist(),
            "without": self.without,
        }


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
        answer: the forecaster; intervals are made of its recent errors.
        data: the windows; test windows are scored.
        levels: of central intervals, in percent.
        windows, renewed: as in `with_recent_errors`.

    Returns:
        `levels`: by level `coverage` (percent of observed targets inside), `width` and `winkler`
        (interval score), scaled, and each of the three under `by_step`; `crps`, scaled, by 19
        quantiles, and `crps_by_step`; `without`: test windows that had too few earlier ones.

    Source: Gneiting and Raftery 2007, "Strictly Proper Scoring Rules, Prediction, and Estimation".
    """
    totals = IntervalTotals(levels, data.test.horizon)
    for judged in with_recent_errors(answer, data, windows, renewed):
        totals.add(judged, calibrated(judged.forecast, judged.errors, totals.quantiles))
    return totals.result()


def head_scores(
    answer: Answer,
    data: WindowedPanel,
    levels: Sequence[float],
    *,
    windows: int = 720,
    renewed: int = 24,
) -> dict[str, dict[str, Any]]:
    """The same for a model that says quantiles itself: `conformal`, and as they are, `none`.

    Args:
        answer: the model's quantiles `asked_quantiles(levels)` and `GRID`, in this order.
        data, levels, windows, renewed: as in `interval_scores`.
    """
    conformal, alone = (IntervalTotals(levels, data.test.horizon) for _ in range(2))
    for judged in with_recent_errors(answer, data, windows, renewed):
        alone.add(judged, judged.forecast)
        quantiles = calibrated(judged.forecast, judged.errors, conformal.quantiles)
        # Where a series has too few earlier windows, the model's own quantiles are what there is.
        conformal.add(judged, quantiles if np.isfinite(quantiles).all() else judged.forecast)
    return {"conformal": conformal.result(), "none": alone.result()}
