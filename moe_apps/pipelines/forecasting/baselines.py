"""Classical forecasts that every model is compared with, on the same scaled windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import eigh

from moe_apps.pipelines.forecasting.windows import Batch, Windows

FloatArray = npt.NDArray[np.floating]

PENALTIES = np.logspace(-7, 3, 41)
"""Ridge penalties that are tried, as shares of the mean diagonal of the normal equations."""


class Baseline(ABC):
    """A forecast of `horizon` steps from a history of scaled values.

    Args:
        horizon: number of steps, at least 1.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon

    def fit(self, train: Windows, validation: Windows) -> Self:
        """Learn from training windows, choose settings on validation ones; here there are none."""
        return self

    @abstractmethod
    def forecast(self, history: FloatArray) -> FloatArray:
        """Forecast `[n, horizon]` from history `[n, look_back]`."""

    def answer(self, batch: Batch) -> FloatArray:
        """Forecast `[n, horizon]` for windows."""
        return self.forecast(batch.history)


class RepeatLast(Baseline):
    """Every step is the last value of the history.

    >>> RepeatLast(2).forecast(np.array([[1.0, 5.0]])).tolist()
    [[5.0, 5.0]]
    """

    def forecast(self, history: FloatArray) -> FloatArray:
        return np.repeat(history[:, -1:], self.horizon, axis=1)


class SeasonalNaive(Baseline):
    """Every step is the value one season before, the last season of the history over and over.

    A history shorter than one season has no such value: the last value is repeated instead.

    Args:
        horizon: number of steps, at least 1.
        season: rows in a season, at least 1; `season_of` says a usual one.

    >>> SeasonalNaive(3, season=2).forecast(np.array([[9.0, 1.0, 2.0]])).tolist()
    [[1.0, 2.0, 1.0]]
    """

    def __init__(self, horizon: int, season: int) -> None:
        super().__init__(horizon)
        self.season = season

    def forecast(self, history: FloatArray) -> FloatArray:
        length = history.shape[1]
        season = self.season if self.season <= length else 1
        return history[:, length - season + np.arange(self.horizon) % season]


class Ridge(Baseline):
    """Ridge regression: one `look_back x horizon` matrix for all series.

    The mean of the history is taken off history and target, and added to the forecast. The
    penalty is the one of `PENALTIES` with the least squared error on the validation windows.
    Filled values count like observed ones. Memory is that of a batch and of
    `look_back * (look_back + horizon)` float64 numbers, however many windows there are.

    >>> wave = np.sin(np.arange(60, dtype=np.float32))
    >>> known, series = np.ones(60, bool), np.zeros(40, np.int32)
    >>> index = Windows(wave, known, np.arange(40), series, np.zeros(1, np.int64), 8, 2)
    >>> ridge = Ridge(2).fit(index, index)
    >>> bool(np.abs(ridge.forecast(wave[None, 50:58]) - wave[None, 58:]).max() < 1e-3)
    True
    """

    weights: npt.NDArray[np.float64]
    penalty: float

    def fit(self, train: Windows, validation: Windows) -> Self:
        gram, cross = normal_equations(train)
        seen_gram, seen_cross = normal_equations(validation)
        # One eigendecomposition solves for every penalty: W = V (V'B / (d + penalty)). The
        # validation error of W, up to a constant, is tr(W'GW) - 2 tr(W'C): no second pass.
        values, vectors = eigh(gram)
        projected = vectors.T @ cross
        best = np.inf
        for penalty in PENALTIES * np.trace(gram) / len(gram):
            divisor = np.maximum(values, 0) + max(penalty, np.finfo(float).tiny)
            weights = vectors @ (projected / divisor[:, None])
            error = np.sum(weights * (seen_gram @ weights - 2 * seen_cross))
            if error < best:
                best, self.weights, self.penalty = error, weights, float(penalty)
        return self

    def forecast(self, history: FloatArray) -> FloatArray:
        mean = history.mean(axis=1, keepdims=True)
        return ((history - mean) @ self.weights + mean).astype(history.dtype)


def normal_equations(
    windows: Windows,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    gram = np.zeros((windows.look_back, windows.look_back))
    cross = np.zeros((windows.look_back, windows.horizon))
    for batch in windows.batches():
        history = batch.history.astype(np.float64)
        mean = history.mean(axis=1, keepdims=True)
        history -= mean
        gram += history.T @ history
        cross += history.T @ (batch.target - mean)
    return gram, cross


def season_of(step: pd.offsets.BaseOffset | None) -> int:
    """The usual season of a time step, in rows.

    Steps of a minute up to a day: a day. Under a minute: an hour. Days: a week (5 business
    days); weeks: a year (52); months and quarters: a year. Everything else, and rows that carry
    no time: 1, which makes the seasonal naive forecast repeat the last value.

    >>> [season_of(pd.tseries.frequencies.to_offset(a)) for a in ("h", "15min", "D", "7D", "MS")]
    [24, 96, 7, 52, 12]
    """
    if step is None:
        return 1
    first, second = pd.date_range("2023-01-02", periods=2, freq=step)
    size = second - first
    days = size / pd.Timedelta(days=1)
    if size < pd.Timedelta(minutes=1):
        return max(1, round(pd.Timedelta(hours=1) / size))
    if days < 1:
        return round(1 / days)
    if days < 7:
        return 5 if isinstance(step, pd.offsets.BusinessDay) else max(1, round(7 / days))
    return max(1, round(364 / days) if days < 28 else round(12 / round(days / 30.4)))


def baselines(horizon: int, season: int) -> dict[str, Baseline]:
    """The baselines by name, not yet fitted.

    >>> list(baselines(96, season=24))
    ['repeat_last', 'seasonal_naive', 'ridge']
    """
    return {
        "repeat_last": RepeatLast(horizon),
        "seasonal_naive": SeasonalNaive(horizon, season),
        "ridge": Ridge(horizon),
    }
