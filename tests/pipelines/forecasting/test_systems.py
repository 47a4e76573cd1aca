"""The systems beside Time-MoE from file to served model, through the doors that users have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import moe_apps
from moe_apps.errors import UserError
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.forecasting import Forecasting
from moe_apps.pipelines.forecasting.prediction import request
from moe_apps.pipelines.forecasting.systems import SYSTEMS
from moe_apps.pipelines.run_folder import RunFolder

HORIZON = 12
SMALL = [
    *("data.look_back=24", "data.horizon=12", "evaluation.stride=4"),
    *("train.epochs=1", "train.steps_per_epoch=3", "train.batch_size=8"),
]
TINY = {
    "mohets": [
        *("model.num_layers=1", "model.num_heads=2", "model.hidden_dim=8"),
        *("model.intermediate_dim=8", "model.num_experts=4", "evaluation.dense_twin=false"),
    ]
}


@pytest.fixture
def table(hourly_table) -> Path:
    return hourly_table


@pytest.fixture(
    scope="module", params=["linear_moe", pytest.param("mohets", marks=pytest.mark.slow)]
)
def trained(request, hourly_table, linear_run, tmp_path_factory) -> tuple[Path, dict]:
    if request.param == "linear_moe":
        return linear_run
    run = tmp_path_factory.mktemp("runs") / request.param
    settings = [*SMALL, f"model.system={request.param}", *TINY[request.param]]
    return run, moe_apps.train("forecasting", data=hourly_table, set=settings, output=run, seed=3)


def test_every_system_is_told_to_users_and_can_be_chosen():
    assert {system.name for system in Forecasting.systems} == set(SYSTEMS)


def test_a_run_has_all_that_users_look_for(trained):
    run, metrics = trained
    assert metrics["system"] == run.name
    for name in ("config.yaml", "model.keras", "report.html", "saved_model/1/saved_model.pb"):
        assert (run / name).stat().st_size > 0, name
    assert SYSTEMS[run.name].title in (run / "report.html").read_text()
    if run.name == "linear_moe":  # the others would need more than three steps
        assert metrics["test"]["mse"] < metrics["baselines"]["repeat_last"]["mse"]
    assert sum(metrics["routing"]["load"][0]) == pytest.approx(1)
    assert len(metrics["routing"]["by_hour"]) >= 6  # every fourth window at least
    assert metrics["parameters"]["active"] < metrics["parameters"]["total"]


def test_evaluate_repeats_the_test(trained):
    run, metrics = trained
    again = moe_apps.evaluate(run)
    for part in ("test", "dense_twin"):
        if metrics[part] is not None:
            assert again[part]["mse"] == pytest.approx(metrics[part]["mse"], rel=1e-5)
    assert again["routing"]["load"] == metrics["routing"]["load"]


def test_predict_and_the_saved_model_agree_in_the_units_of_the_file(trained, table, tmp_path):
    run, _ = trained
    moe_apps.predict(run, input=table, output=tmp_path / "next.csv")
    written = pd.read_csv(tmp_path / "next.csv", parse_dates=["time"])
    by_series = written["forecast"].to_numpy().reshape(2, HORIZON)
    assert 0 < by_series[0].mean() < 100 and -5 < by_series[1].mean() < 15
    signatures = tf.saved_model.load(str(run / "saved_model" / "1")).signatures
    asked = {name: tf.constant(v) for name, v in request(RunFolder.open(run), table).items()}
    answer = signatures["serving_default"](**asked)["forecast"]
    np.testing.assert_allclose(answer.numpy(), by_series, rtol=1e-4)
    explained = signatures["explain"](**asked)
    np.testing.assert_allclose(explained["forecast"].numpy(), by_series, rtol=1e-4)
    np.testing.assert_allclose(explained["expert_shares"].numpy().sum(axis=-1), 1, rtol=1e-5)
    card = read_json(run / "saved_model" / "1" / "MODEL.json")
    assert set(card["signatures"]["serving_default"]["inputs"]) == set(asked)


def test_other_data_need_the_same_calendar(trained, tmp_path):
    run, _ = trained
    days = pd.date_range("2020-01-01", periods=400)
    pd.DataFrame({"day": days, "x": np.arange(400.0)}).to_csv(tmp_path / "days.csv", index=False)
    with pytest.raises(UserError, match=r"4 features .* trained with 6"):
        moe_apps.evaluate(run, data=tmp_path / "days.csv")


def test_short_histories_are_forecast(trained, tmp_path):
    run, _ = trained
    times = pd.date_range("2024-03-01", periods=40, freq="h")
    long = pd.DataFrame(
        {
            "id": ["a"] * 40 + ["b"] * 3,
            "date": [*times, *times[:3]],
            "value": [*np.arange(40.0), 7.0, 7.0, 7.0],
        }
    )
    long.to_csv(tmp_path / "long.csv", index=False)
    moe_apps.predict(run, input=tmp_path / "long.csv", output=tmp_path / "next.csv")
    written = pd.read_csv(tmp_path / "next.csv")
    assert np.isfinite(written["forecast"]).all()
    if run.name == "linear_moe":
        np.testing.assert_allclose(written["forecast"][-HORIZON:], 7, atol=1e-3)


def test_a_model_that_knows_the_calendar_asks_for_time_stamps(trained, tmp_path):
    run, _ = trained
    pd.DataFrame({"x": np.arange(60.0)}).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(UserError, match="time"):
        moe_apps.predict(run, input=tmp_path / "rows.csv", output=tmp_path / "next.csv")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.name=linear_moe", "model.patch=8"], "linear_moe has no setting patch"),
        (["model.rank=4"], "time_moe has no setting rank .* of linear_moe"),
        (["model.name=mohets", "data.look_back=20"], "multiple of `patch` 8"),
        (["model.name=mohets", "model.preset=ultra"], "Unknown preset 'ultra'"),
    ],
)
def test_settings_that_a_system_has_not_are_refused_by_name(settings, message, table, tmp_path):
    with pytest.raises(UserError, match=message):
        moe_apps.train("forecasting", data=table, set=[*SMALL, *settings], output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_linear_mixture_is_never_worse_on_validation_than_where_it_starts(table, tmp_path):
    wild = ["model.name=linear_moe", "train.learning_rate=5", "evaluation.dense_twin=false"]
    run = tmp_path / "run"
    metrics = moe_apps.train("forecasting", data=table, set=[*SMALL, *wild], output=run)
    assert metrics["training"]["best_epoch"] == 0
    history = pd.read_csv(run / "history.csv")
    assert metrics["training"]["best_val_mse"] < history["val_mse"].min()
    assert metrics["test"]["mse"] < 1.2 * metrics["baselines"]["ridge"]["mse"]
