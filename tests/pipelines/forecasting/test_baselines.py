from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from moe_apps.pipelines.forecasting.baselines import (
    RepeatLast,
    Ridge,
    SeasonalNaive,
    baselines,
    season_of,
)
from moe_apps.pipelines.forecasting.metrics import score
from moe_apps.pipelines.forecasting.panel import Panel
from moe_apps.pipelines.forecasting.readers import read_panel
from moe_apps.pipelines.forecasting.windows import WindowedPanel, make_windows, split


@pytest.mark.parametrize(
    ("alias", "season"),
    {
        **{"s": 3600, "15min": 96, "h": 24, "6h": 4, "D": 7, "B": 5, "7D": 52, "W-MON": 52},
        **{"MS": 12, "ME": 12, "3MS": 4, "QS": 4, "12MS": 1, "YS": 1},
    }.items(),
)
def test_seasons(alias: str, season: int) -> None:
    assert season_of(pd.tseries.frequencies.to_offset(alias)) == season


def test_rows_without_time_have_no_season() -> None:
    assert season_of(None) == 1


def test_naive_forecasts() -> None:
    history = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert RepeatLast(2).forecast(history).tolist() == [[3, 3], [6, 6]]
    assert SeasonalNaive(4, season=3).forecast(history).tolist() == [[1, 2, 3, 1], [4, 5, 6, 4]]


def test_seasonal_naive_repeats_the_last_value_of_a_short_history() -> None:
    history = np.array([[1.0, 2.0]])
    assert SeasonalNaive(2, season=3).forecast(history).tolist() == [[2, 2]]


def _oracle(data: WindowedPanel, penalty: float) -> np.ndarray:
    batch = data.train.gather(np.arange(len(data.train)))
    history, target = batch.history.astype(np.float64), batch.target.astype(np.float64)
    mean = history.mean(axis=1, keepdims=True)
    return SklearnRidge(penalty, fit_intercept=False).fit(history - mean, target - mean).coef_.T


def test_ridge_agrees_with_scikit_learn(numbered: Callable[..., Panel]) -> None:
    panel = numbered(*np.random.default_rng(0).normal(size=(2, 200)).cumsum(axis=1))
    data = make_windows(panel, split(panel), 12, 4)
    ridge = Ridge(4).fit(data.train, data.validation)
    np.testing.assert_allclose(ridge.weights, _oracle(data, ridge.penalty), atol=1e-6)


def test_ridge_penalty_is_the_best_on_validation(numbered: Callable[..., Panel]) -> None:
    time = np.arange(300)
    panel = numbered(np.sin(time / 3) + np.random.default_rng(1).normal(size=300))
    data = make_windows(panel, split(panel), 24, 2)
    ridge = Ridge(2).fit(data.train, data.validation)
    best = score(ridge.answer, data.validation, data, season=1)["mse"]
    for factor in (0.01, 0.1, 10, 100):
        other = Ridge(2)
        other.weights = _oracle(data, ridge.penalty * factor)
        assert score(other.answer, data.validation, data, season=1)["mse"] > best


def test_constant_series_does_not_break_ridge(numbered: Callable[..., Panel]) -> None:
    panel = numbered(np.full(100, 3.0))
    data = make_windows(panel, split(panel), 8, 2)
    ridge = Ridge(2).fit(data.train, data.validation)
    assert score(ridge.answer, data.test, data, season=1)["mse"] == 0


def test_baselines_keep_single_precision() -> None:
    history = np.ones((2, 8), np.float32)
    for name, baseline in baselines(3, season=4).items():
        if name != "ridge":
            assert baseline.forecast(history).dtype == np.float32


@cache
def _benchmark(path: Path, protocol: str, look_back: int) -> WindowedPanel:
    panel = read_panel(path)
    return make_windows(panel, split(panel, protocol), look_back, 96)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "protocol", "look_back", "name", "mse", "mae", "tolerance"),
    [
        ("ETTh1.csv", "ett", 96, "seasonal_naive", 0.512, 0.433, 0.0005),
        ("ETTh1.csv", "ett", 96, "repeat_last", 1.294, 0.713, 0.0005),
        ("ETTh1.csv", "ett", 96, "ridge", 0.383, 0.392, 0.002),
        ("ETTh1.csv", "ett", 512, "ridge", 0.367, 0.391, 0.002),
        ("exchange_rate.csv", "fraction", 96, "repeat_last", 0.081, 0.196, 0.0005),
    ],
)
def test_measured_benchmark_figures(
    shared_data: Path,
    file: str,
    protocol: str,
    look_back: int,
    name: str,
    mse: float,
    mae: float,
    tolerance: float,
) -> None:
    data = _benchmark(shared_data / "forecasting" / file, protocol, look_back)
    baseline = baselines(96, season_of(data.panel.step))[name].fit(data.train, data.validation)
    result = score(baseline.answer, data.test, data, season=24)
    assert abs(result["mse"] - mse) <= tolerance and abs(result["mae"] - mae) <= tolerance
