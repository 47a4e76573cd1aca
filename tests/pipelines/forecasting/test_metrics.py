from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moe_apps.pipelines.forecasting.baselines import RepeatLast
from moe_apps.pipelines.forecasting.metrics import ForecastMetrics, score
from moe_apps.pipelines.forecasting.panel import Panel
from moe_apps.pipelines.forecasting.windows import WindowedPanel, make_windows, split

Numbered = Callable[..., Panel]
SEASON = 3


@pytest.fixture
def data(numbered: Numbered) -> WindowedPanel:
    """Two series of unlike size, with gaps."""
    random = np.random.default_rng(0)
    values = np.stack([random.normal(10, 2, 90), random.normal(-500, 90, 90)])
    values[0, [20, 75]] = np.nan
    panel = numbered(*values)
    return make_windows(panel, split(panel), 6, 2)


def _plain(data: WindowedPanel, series: set[int]) -> dict[str, float]:
    """The definitions, window by window and target by target."""
    found: dict[str, list[float]] = {"mse": [], "mae": [], "original": [], "mase": [], "smape": []}
    for i in range(len(data.test)):
        one = int(data.test.series_index[i])
        if one not in series:
            continue
        source, row = data.panel.series[one], int(data.test.target_rows(np.array([i]))[0])
        known = [t for t in data.splits[one].train if t >= SEASON]
        naive = [
            abs(source.values[t] - source.values[t - SEASON])
            for t in known
            if source.observed[t] and source.observed[t - SEASON]
        ]
        guess = source.values[row - 1]
        for target in (row, row + 1):
            if source.observed[target]:
                truth = source.values[target]
                error = abs(guess - truth)
                found["mse"].append((error / data.std[one]) ** 2)
                found["mae"].append(error / data.std[one])
                found["original"].append(error)
                found["mase"].append(error / np.mean(naive))
                found["smape"].append(200 * error / (abs(guess) + abs(truth)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _flat(result: dict[str, Any]) -> dict[str, float]:
    names = {"original": "mae_original"}
    return {k: result[names.get(k, k)] for k in ("mse", "mae", "original", "mase", "smape")}


def test_errors_agree_with_a_plain_loop(data: WindowedPanel) -> None:
    result = score(RepeatLast(2).answer, data.test, data, SEASON, batch_size=7)
    assert _flat(result) == pytest.approx(_plain(data, {0, 1}), rel=1e-4)
    for i, series in enumerate(data.panel.series):
        assert _flat(result["by_series"][series.name]) == pytest.approx(_plain(data, {i}), rel=1e-4)


def test_batch_size_does_not_matter(data: WindowedPanel) -> None:
    one = score(RepeatLast(2).answer, data.test, data, SEASON, batch_size=1)
    many = score(RepeatLast(2).answer, data.test, data, SEASON, batch_size=1000)
    assert one["by_step"]["mse"] == pytest.approx(many["by_step"]["mse"])
    assert one["targets"] == many["targets"] == 2 * len(data.test) - 2


def test_steps_average_to_the_whole_when_all_is_observed(numbered: Numbered) -> None:
    panel = numbered(np.random.default_rng(2).normal(size=80))
    data = make_windows(panel, split(panel), 5, 3)
    result = score(RepeatLast(3).answer, data.test, data, SEASON)
    assert np.mean(result["by_step"]["mse"]) == pytest.approx(result["mse"])
    assert np.mean(result["by_step"]["mae"]) == pytest.approx(result["mae"])


def test_unobserved_targets_do_not_count_whatever_they_hold(data: WindowedPanel) -> None:
    metrics = ForecastMetrics(data, SEASON)
    forecast = np.array([[1.0, np.nan]], np.float32)
    metrics.update(forecast, np.array([[3.0, 9.0]]), np.array([[True, False]]), np.array([0]))
    result = metrics.result()
    assert (result["mse"], result["mae"], result["targets"]) == (4.0, 2.0, 1)
    assert result["by_step"]["mse"] == [4.0, None]
    assert result["by_series"]["s1"]["mse"] is None


def test_constant_series_has_no_mase_and_a_perfect_zero_no_smape(numbered: Numbered) -> None:
    panel = numbered(np.zeros(80), np.random.default_rng(3).normal(size=80))
    data = make_windows(panel, split(panel), 5, 2)
    result = score(RepeatLast(2).answer, data.test, data, SEASON)
    still = result["by_series"]["s0"]
    assert still["mase"] is None and still["mse"] == 0 and still["smape"] == 0
    assert result["mase"] == pytest.approx(result["by_series"]["s1"]["mase"])


def test_season_longer_than_training_leaves_mase_undefined(data: WindowedPanel) -> None:
    assert score(RepeatLast(2).answer, data.test, data, season=500)["mase"] is None


def test_result_is_plain_json(data: WindowedPanel) -> None:
    result = score(RepeatLast(2).answer, data.test, data, SEASON)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
