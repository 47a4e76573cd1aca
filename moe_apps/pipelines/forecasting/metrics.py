"""Forecast errors, summed up batch by batch over the targets that were observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.forecasting.windows import Batch, WindowedPanel, Windows

FloatArray = npt.NDArray[np.floating]


class ForecastMetrics:
    """MSE, MAE, MASE and sMAPE over batches of windows, in memory of `[series, horizon]`.

    `mse` and `mae` are of scaled values, as benchmarks print them. In the file's own units are
    `mae_original`; `mase`, the absolute error over the mean absolute seasonal difference of the
    series' training rows (Hyndman & Koehler, 2006); and `smape` in percent: 200 |y - f| over
    |y| + |f|, 0 where both are 0. Each is the plain mean over all observed targets; series whose
    seasonal difference is 0 or unknown are not in `mase`.

    Args:
        data: the windowed panel whose windows are scored.
        season: rows of the season in `mase`.
    """

    def __init__(self, data: WindowedPanel, season: int) -> None:
        self.data = data
        self.naive_error = _naive_errors(data, season)  # [series], scaled
        shape = len(data.panel.series), data.test.horizon
        self._count, self._squared, self._absolute, self._symmetric = np.zeros((4, *shape))

    def update(
        self,
        forecast: FloatArray,
        target: FloatArray,
        observed: npt.NDArray[np.bool_],
        series: npt.NDArray[np.integer],
    ) -> None:
        """Add scaled forecasts and targets, `[n, horizon]` with their mask, of series `[n]`."""
        error = np.where(observed, forecast.astype(np.float64) - target, 0.0)
        truth, guess = self.data.unscale(target, series), self.data.unscale(forecast, series)
        size = np.abs(truth) + np.abs(guess)
        share = np.abs(guess - truth) / np.where(size > 0, size, 1.0)
        for sums, values in (
            (self._count, observed),
            (self._squared, error**2),
            (self._absolute, np.abs(error)),
            (self._symmetric, np.where(observed, 200 * share, 0.0)),
        ):
            np.add.at(sums, series, values)

    def result(self) -> dict[str, Any]:
        """All errors as numbers and lists fit for JSON; None where there is nothing to average.

        Keys: mse, mae, mae_original, mase, smape, targets (how many were observed), by_step
        (`mse` and `mae`, each `[horizon]`) and by_series (the five errors by series name).
        """
        count = self._count.sum(axis=0)  # [horizon]
        names = [series.name for series in self.data.panel.series]
        return {
            **self._errors(slice(None)),
            "targets": int(self._count.sum()),
            "by_step": {
                "mse": list(map(_ratio, self._squared.sum(axis=0), count)),
                "mae": list(map(_ratio, self._absolute.sum(axis=0), count)),
            },
            "by_series": {name: self._errors(slice(i, i + 1)) for i, name in enumerate(names)},
        }

    def _errors(self, rows: slice) -> dict[str, float | None]:
        count = self._count[rows].sum(axis=1)  # [series]
        absolute = self._absolute[rows].sum(axis=1)
        naive = self.naive_error[rows]
        defined = naive > 0
        return {
            "mse": _ratio(self._squared[rows].sum(), count.sum()),
            "mae": _ratio(absolute.sum(), count.sum()),
            "mae_original": _ratio((absolute * self.data.std[rows]).sum(), count.sum()),
            "mase": _ratio((absolute[defined] / naive[defined]).sum(), count[defined].sum()),
            "smape": _ratio(self._symmetric[rows].sum(), count.sum()),
        }


def score(
    answer: Callable[[Batch], FloatArray],
    windows: Windows,
    data: WindowedPanel,
    season: int,
    batch_size: int = 1024,
) -> dict[str, Any]:
    """Errors of a forecasting function (windows to scaled `[n, horizon]`) over windows.

    Every window counts once. Returns what `ForecastMetrics.result` does.

    >>> from moe_apps.pipelines.forecasting.panel import Panel, Series
    >>> from moe_apps.pipelines.forecasting.windows import make_windows, split
    >>> panel = Panel((Series("a", 0, np.arange(100.0), np.ones(100, bool)),), None)
    >>> data = make_windows(panel, split(panel), look_back=8, horizon=1)
    >>> result = score(lambda batch: batch.history[:, -1:], data.test, data, season=1)
    >>> round(result["mae_original"], 3), round(result["mase"], 3)
    (1.0, 1.0)
    """
    metrics = ForecastMetrics(data, season)
    for batch in windows.batches(batch_size):
        metrics.update(answer(batch), batch.target, batch.target_observed, batch.series)
    return metrics.result()


def _ratio(total: float, count: float) -> float | None:
    return float(total / count) if count > 0 else None


def _naive_errors(data: WindowedPanel, season: int) -> npt.NDArray[np.float64]:
    """Mean absolute seasonal difference of each series' observed training rows; 0 if undefined."""
    errors = []
    for offset, split in zip(data.train.offsets, data.splits, strict=True):
        rows = slice(offset + split.train.start, offset + split.train.stop)
        values, observed = data.train.values[rows], data.train.observed[rows]
        both = observed[season:] & observed[:-season]
        differences = np.abs(values[season:] - values[:-season], dtype=np.float64)[both]
        errors.append(differences.mean() if differences.size else 0.0)
    return np.array(errors)
