"""Models that say quantiles themselves, from the settings to predict and the served model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import moe_apps
from moe_apps.errors import UserError
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.prediction import request
from moe_apps.pipelines.run_folder import RunFolder

HORIZON = 12
SMALL = [
    *("data.look_back=24", "data.horizon=12", "evaluation.stride=1", "intervals.windows=60"),
    *("train.epochs=2", "train.steps_per_epoch=10", "train.batch_size=32"),
    "evaluation.dense_twin=false",
]
ENDS = ["lower_80", "upper_80", "lower_95", "upper_95"]


@pytest.fixture(scope="module")
def trained(hourly_table, tmp_path_factory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("runs") / "student_t"
    settings = [*SMALL, "model.name=linear_moe", "model.head=student_t"]
    return run, moe_apps.train("forecasting", data=hourly_table, set=settings, output=run, seed=3)


def predicted(run, table, tmp_path, *settings) -> tuple[pd.DataFrame, list[str]]:
    answer = moe_apps.predict(run, input=table, output=tmp_path / "out.csv", set=settings)
    return pd.read_csv(tmp_path / "out.csv", parse_dates=["time"]), answer["notes"]


def test_intervals_are_scored_calibrated_and_as_they_are(trained):
    run, metrics = trained
    found = metrics["intervals"]
    assert list(found) == ["model", "uncalibrated", "seasonal_naive"]
    for name in ("model", "uncalibrated"):
        assert set(found[name]["levels"]) == {"80", "95"}
        assert found[name]["crps"] < found["seasonal_naive"]["crps"]
        assert 60 < found[name]["levels"]["80"]["coverage"] < 97
    training = metrics["training"]
    history = pd.read_csv(run / "history.csv")
    assert training["best_val_crps"] <= history["val_crps"].min() * (1 + 1e-6)
    page = (run / "report.html").read_text()
    assert "linear MoE, uncalibrated, 80 %" in page


def test_predict_writes_the_intervals_of_any_calibration(trained, hourly_table, tmp_path):
    run, _ = trained
    calibrated, _ = predicted(run, hourly_table, tmp_path)
    alone, _ = predicted(run, hourly_table, tmp_path, "intervals.calibration=none")
    np.testing.assert_allclose(calibrated["forecast"], alone["forecast"], rtol=1e-6)
    for table in (calibrated, alone):
        inner, outer = table[ENDS[:2]], table[ENDS[2:]]
        assert (outer["lower_95"] < inner["lower_80"]).all()
        assert (inner["lower_80"] < inner["upper_80"]).all()
        assert (inner["upper_80"] < outer["upper_95"]).all()
    assert not np.allclose(calibrated["lower_80"], alone["lower_80"], rtol=1e-3)
    other, _ = predicted(run, hourly_table, tmp_path, "intervals.levels=[50]")
    assert (other["lower_50"] > calibrated["lower_80"]).all() and "lower_80" not in other


def test_a_short_series_gets_what_the_model_says_and_a_note(trained, tmp_path):
    times = pd.date_range("2024-03-01", periods=30, freq="h")
    pd.DataFrame({"t": times, "x": np.arange(30.0)}).to_csv(tmp_path / "short.csv", index=False)
    table, notes = predicted(trained[0], tmp_path / "short.csv", tmp_path)
    assert (table["lower_95"] < table["forecast"]).all()
    assert (table["forecast"] < table["upper_95"]).all()
    assert any("not calibrated" in note and "x 0" in note for note in notes)


def test_the_served_model_gives_the_models_own_intervals(trained, hourly_table, tmp_path):
    run, _ = trained
    written, _ = predicted(run, hourly_table, tmp_path, "intervals.calibration=none")
    signatures = tf.saved_model.load(str(run / "saved_model" / "1")).signatures
    asked = {k: tf.constant(v) for k, v in request(RunFolder.open(run), hourly_table).items()}
    for name in ("serving_default", "explain"):
        answer = signatures[name](**asked)
        for column in ("forecast", *ENDS):
            expected = written[column].to_numpy().reshape(2, HORIZON)
            np.testing.assert_allclose(answer[column].numpy(), expected, rtol=1e-3, err_msg=column)
    del asked["horizon"]
    assert signatures["fixed_horizon"](**asked)["lower_95"].shape == (2, HORIZON)
    card = read_json(run / "saved_model" / "1" / "MODEL.json")
    assert "lower end of the 80 % interval" in str(card["signatures"]) + str(card)


def test_evaluate_repeats_the_intervals(trained):
    run, metrics = trained
    again = moe_apps.evaluate(run)
    for name, one in metrics["intervals"].items():
        assert again["intervals"][name]["crps"] == pytest.approx(one["crps"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("one_shot", ["true", "false"])
@pytest.mark.parametrize("head", ["quantile", "student_t"])
def test_mohets_with_a_head_from_file_to_forecasts(head, one_shot, hourly_table, tmp_path):
    tiny = ("num_layers=1", "num_heads=2", "hidden_dim=8", "intermediate_dim=8", "num_experts=4")
    chosen = ["model.name=mohets", f"model.head={head}", f"model.one_shot={one_shot}"]
    settings = [*SMALL, *chosen, *(f"model.{one}" for one in tiny), "evaluation.stride=4"]
    run = tmp_path / "run"
    metrics = moe_apps.train("forecasting", data=hourly_table, set=settings, output=run)
    assert np.isfinite(metrics["intervals"]["uncalibrated"]["crps"])
    table, _ = predicted(run, hourly_table, tmp_path)
    assert (table["lower_80"] <= table["upper_80"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.head=quantile"], "time_moe has no setting head .* of mohets and linear_moe"),
        (["model.name=linear_moe", "model.head=gauss"], "model.head"),
        (["model.name=linear_moe", "model.quantiles=[0.2,0.5]"], "quantiles .* is of head quanti"),
        (
            ["model.name=linear_moe", "model.head=quantile", "model.quantiles=[0.1,0.9]"],
            "quantiles must ascend between 0 and 1, with 0.5 among them; found 0.1, 0.9",
        ),
        (
            ["model.name=linear_moe", "model.head=quantile", "intervals.levels=[99]"],
            "99 % lies beyond model.quantiles, which go from 0.025 to 0.975",
        ),
        (["model.name=linear_moe", "model.head=student_t", "model.loss=huber"], "of head point"),
        (["intervals.calibration=none"], "model.head is point"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(settings, message, hourly_table, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train(
            "forecasting", data=hourly_table, set=[*SMALL, *settings], output=tmp_path / "run"
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_default_levels_are_those_that_the_quantiles_reach():
    def levels(**model):
        return ForecastingConfig(model={"name": "linear_moe", **model}).interval_levels

    assert levels() == ()
    assert levels(head="student_t") == (80, 95) == levels(head="quantile")
    assert levels(head="quantile", quantiles=[0.1, 0.5, 0.9]) == (80,)
