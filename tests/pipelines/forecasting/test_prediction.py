"""Intervals and anomalies that `predict` writes, and settings laid over those of a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import moe_apps
from moe_apps.errors import UserError
from moe_apps.pipelines.forecasting.anomalies import _scores
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.data import read_data
from moe_apps.pipelines.forecasting.intervals import conformal_quantiles
from moe_apps.pipelines.forecasting.unit_forecaster import UnitForecaster
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model


def predicted(run, table, tmp_path, *settings):
    answer = moe_apps.predict(run, input=table, output=tmp_path / "out.csv", set=settings)
    return pd.read_csv(tmp_path / "out.csv", parse_dates=["time"]), answer["notes"]


def test_a_run_scores_its_intervals_beside_seasonal_naive(linear_run):
    run, metrics = linear_run
    found = metrics["intervals"]
    assert set(found) == {"model", "seasonal_naive"}
    one = found["model"]["levels"]["80"]
    assert 50 < one["coverage"] <= 100 and len(one["by_step"]["width"]) == 12
    assert found["model"]["crps"] < found["seasonal_naive"]["crps"]
    assert "Prediction intervals" in (run / "report.html").read_text()


def test_intervals_are_forecasts_plus_quantiles_of_the_files_last_errors(
    linear_run, hourly_table, tmp_path
):
    run, _ = linear_run
    table, _ = predicted(run, hourly_table, tmp_path, "intervals.levels=[80, 95]")
    assert (table["lower_95"] < table["lower_80"]).all()
    assert (table["upper_80"] < table["upper_95"]).all()
    config = RunFolder.open(run).read_config(ForecastingConfig)
    panel = read_data(config.data, hourly_table)
    forecaster = UnitForecaster(load_model(run / "model.keras"), config, panel)
    wind = panel.series[1]
    errors = forecaster.recent_errors(wind, 60)
    assert errors.shape == (60, 12)
    last = wind.values[-12:] - forecaster.of_origins([(wind, len(wind) - 12)])[0]
    np.testing.assert_allclose(errors[-1], last, rtol=1e-4, atol=1e-5)
    own = table[table["series"] == "wind"]
    offsets = conformal_quantiles(errors, [0.1, 0.9])
    np.testing.assert_allclose(own["lower_80"], own["forecast"] + offsets[0], rtol=1e-5)
    np.testing.assert_allclose(own["upper_80"], own["forecast"] + offsets[1], rtol=1e-5)


def test_a_short_file_gets_forecasts_without_intervals_and_a_note(linear_run, tmp_path):
    times = pd.date_range("2024-03-01", periods=40, freq="h")
    pd.DataFrame({"t": times, "x": np.arange(40.0)}).to_csv(tmp_path / "short.csv", index=False)
    table, notes = predicted(linear_run[0], tmp_path / "short.csv", tmp_path)
    assert np.isfinite(table["forecast"]).all() and table["lower_80"].isna().all()
    assert any("no interval" in note and "x 5" in note for note in notes)


def test_another_horizon_may_be_asked_for(linear_run, hourly_table, tmp_path):
    longer, _ = predicted(linear_run[0], hourly_table, tmp_path, "data.horizon=30")
    usual, _ = predicted(linear_run[0], hourly_table, tmp_path)
    assert len(longer) == 60
    np.testing.assert_allclose(longer["forecast"][:12], usual["forecast"][:12], rtol=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.k=1", "the model is trained"),
        ("intervals.levels=[120]", "between 0 and 100"),
        ("interval.levels=[80]", "intervals"),
    ],
)
def test_bad_settings_are_refused_in_one_line(setting, message, linear_run, hourly_table, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        predicted(linear_run[0], hourly_table, tmp_path, setting)
    assert "\n" not in str(caught.value) and not (tmp_path / "out.csv").exists()


def test_a_strange_value_stands_out(linear_run, hourly_table, tmp_path):
    frame = pd.read_csv(hourly_table)
    frame.loc[300, "load"] = 95.0
    frame.to_csv(tmp_path / "odd.csv", index=False)
    table, _ = predicted(linear_run[0], tmp_path / "odd.csv", tmp_path, "predict.anomalies=true")
    load = table[table["series"] == "load"].set_index("time")
    worst = load["score"].iloc[20:].idxmax()
    assert worst == pd.Timestamp(frame.loc[300, "date"]) and load.loc[worst, "value"] == 95
    assert load.loc[worst, "p_value"] == pytest.approx(1 / 61)
    assert 0.4 < load["p_value"].iloc[20:].mean() < 0.6  # elsewhere they are as good as even
    wind = table[table["series"] == "wind"]
    assert len(wind) == 420 - 24 - 5  # a missing value is no anomaly


def test_an_error_is_compared_with_those_before_it():
    score, p_value = _scores(np.array([1.0, 2.0, np.nan, 3.0, 1.0]), 3)
    assert np.isnan(score[[0, 2]]).all()
    np.testing.assert_allclose(score[[1, 3, 4]], [2, 2, 1 / 2.5])
    np.testing.assert_allclose(p_value[[1, 3, 4]], [1 / 2, 1 / 3, 1])
