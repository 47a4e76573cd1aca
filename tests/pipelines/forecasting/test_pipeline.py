"""Training, judging, resuming and using a forecaster, through the doors that users have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import moe_apps
from moe_apps import api
from moe_apps.errors import UserError
from moe_apps.pipelines import training
from moe_apps.pipelines.forecasting import learning
from moe_apps.pipelines.run_folder import RunFolder

LOOK_BACK, HORIZON = 24, 12
SMALL = [
    f"data.look_back={LOOK_BACK}",
    f"data.horizon={HORIZON}",
    "model.num_layers=1",
    "model.hidden_dim=8",
    "model.intermediate_dim=8",
    "model.num_experts=4",
    "train.epochs=2",
    "train.steps_per_epoch=4",
    "train.batch_size=8",
    "evaluation.stride=4",
]


def hourly(rows: int = 420, *, seed: int = 0) -> pd.DataFrame:
    """Two series with a daily wave, noise and a gap."""
    hours = np.arange(rows)
    noise = np.random.default_rng(seed).normal(size=(2, rows)) * 0.1
    frame = pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "load": 50 + 10 * (np.sin(2 * np.pi * hours / 24) + noise[0]),
            "wind": 5 + np.cos(2 * np.pi * hours / 24) + noise[1],
        }
    )
    frame.loc[100:104, "wind"] = np.nan
    return frame


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "hourly.csv"
    hourly().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("runs") / "small"
    return run, moe_apps.train("forecasting", data=table, set=SMALL, output=run, seed=3)


def test_a_run_has_all_that_users_look_for(trained):
    run, metrics = trained
    for name in ("config.yaml", "model.keras", "metrics.json", "history.csv", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "saved_model" / "1" / "saved_model.pb").is_file()
    figures = {file.stem for file in (run / "figures").iterdir()}
    assert figures >= {"forecasts", "error_by_step", "training", "experts_by_hour"}
    assert set(metrics["baselines"]) == {"repeat_last", "seasonal_naive", "ridge"}
    for errors in (metrics["test"], metrics["dense_twin"], *metrics["baselines"].values()):
        assert errors["mse"] > 0 and len(errors["by_step"]["mse"]) == HORIZON
    assert metrics["parameters"]["active"] < metrics["parameters"]["total"]
    assert sum(metrics["routing"]["load"][0]) == pytest.approx(1)
    assert any("missing values" in note for note in metrics["data"]["notes"])
    assert json.loads((run / "metrics.json").read_text())["test"] == metrics["test"]


@pytest.mark.slow  # shown by the interrupted training too
def test_a_run_can_be_repeated_from_its_own_settings(trained, tmp_path):
    run, first = trained
    again = moe_apps.train("forecasting", config=run / "config.yaml", output=tmp_path / "run")
    assert again["test"] == first["test"] and again["dense_twin"] == first["dense_twin"]


@pytest.mark.slow
def test_another_seed_gives_another_result(trained, table, tmp_path):
    other = moe_apps.train("forecasting", data=table, set=SMALL, output=tmp_path / "two", seed=4)
    assert other["test"]["mse"] != trained[1]["test"]["mse"]


def test_evaluate_repeats_the_test_and_takes_other_data(trained, tmp_path):
    run, metrics = trained
    again = moe_apps.evaluate(run)
    assert again["test"]["mse"] == pytest.approx(metrics["test"]["mse"], rel=1e-5)
    assert again["dense_twin"]["mse"] == pytest.approx(metrics["dense_twin"]["mse"], rel=1e-5)
    assert again["routing"]["load"] == metrics["routing"]["load"]
    other = tmp_path / "other.csv"
    hourly(500, seed=1).to_csv(other, index=False)
    elsewhere = moe_apps.evaluate(run, data=other)
    assert elsewhere["data"]["rows"] == 1000
    assert elsewhere["test"]["mse"] != metrics["test"]["mse"]


def test_predict_and_the_saved_model_agree_in_the_units_of_the_file(trained, table, tmp_path):
    run, _ = trained
    answer = moe_apps.predict(run, input=table, output=tmp_path / "next.csv")
    written = pd.read_csv(tmp_path / "next.csv", parse_dates=["time"])
    assert answer["rows"] == len(written) == 2 * HORIZON
    frame = hourly()
    assert written["time"].iloc[0] == frame["date"].iloc[-1] + pd.Timedelta(hours=1)
    served = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["serving_default"]
    history = frame[["load", "wind"]].to_numpy().T[:, -100:]
    forecast = served(history=tf.constant(history, tf.float32), horizon=tf.constant(HORIZON))
    by_series = written["forecast"].to_numpy().reshape(2, HORIZON)
    np.testing.assert_allclose(forecast["forecast"].numpy(), by_series, rtol=1e-4)
    assert 20 < by_series[0].mean() < 80 and 0 < by_series[1].mean() < 10


def test_predict_takes_short_and_unequal_series_and_writes_parquet(trained, tmp_path):
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
    moe_apps.predict(run, input=tmp_path / "long.csv", output=tmp_path / "next.parquet")
    written = pd.read_parquet(tmp_path / "next.parquet")
    assert np.isfinite(written["forecast"]).all()
    ends = written.groupby("series")["time"].min()
    assert ends.tolist() == [times[39] + pd.Timedelta(hours=1), times[3]]


def test_an_interrupted_training_resumes_to_the_same_result(trained, table, tmp_path, monkeypatch):
    expected = trained[1]
    fit, calls = training.fit, []

    def interrupted(model, *arguments, **named):
        calls.append(named["title"])
        if named["title"] == "dense twin":
            raise KeyboardInterrupt
        return fit(model, *arguments, **named)

    run = tmp_path / "run"
    monkeypatch.setattr(learning, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        moe_apps.train("forecasting", data=table, set=SMALL, output=run, seed=3)
    assert RunFolder.open(run).read_details()["status"] == "interrupted"
    monkeypatch.setattr(learning, "fit", fit)
    resumed = moe_apps.train("forecasting", resume=run)
    assert calls == ["Time-MoE", "dense twin"]
    assert resumed["test"] == expected["test"]
    assert resumed["dense_twin"] == expected["dense_twin"]


def bad(frame: pd.DataFrame, change: str) -> pd.DataFrame | str:
    """The table with one thing wrong."""
    if change == "empty":
        return ""
    if change == "header only":
        return "date,load,wind\n"
    if change == "text":
        frame["load"] = frame["load"].astype(object)
        frame.loc[7, "load"] = "n/k"
    if change == "conflicting times":
        frame.loc[10, "date"] = frame.loc[9, "date"]
    if change == "short":
        return frame.head(30)
    if change == "all missing":
        frame[["load", "wind"]] = np.nan
    return frame


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("empty", "empty"),
        ("header only", "row"),
        ("text", "n/k"),
        ("conflicting times", "2024-01-01"),
        ("short", "look-back"),
        ("all missing", "value"),
    ],
)
def test_bad_tables_are_refused_in_one_line_and_leave_nothing(change, message, tmp_path):
    wrong = bad(hourly(), change)
    file = tmp_path / "bad.csv"
    file.write_text(wrong if isinstance(wrong, str) else wrong.to_csv(index=False))
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train("forecasting", data=file, set=SMALL, output=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.horizon=0", "horizon"),
        ("model.num_expert=8", "num_experts"),
        ("model.k=9", "k is 9"),
        ("model.horizon_lengths=[8, 32]", "include 1"),
        ("train.strategy=multi_worker", "20585"),
        ("model.router=no_such", "no_such"),
        ("model.num_heads=3", "heads"),
    ],
)
def test_bad_settings_are_refused_in_one_line_and_leave_nothing(override, message, table, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train("forecasting", data=table, set=[*SMALL, override], output=run)
    assert "\n" not in str(caught.value)
    assert not run.exists()


def test_unsorted_rows_and_a_constant_series_are_put_right_with_a_note(tmp_path):
    frame = hourly()
    frame["flat"] = 7.0
    file = tmp_path / "odd.csv"
    frame.sample(frac=1, random_state=0).to_csv(file, index=False)
    quick = [one for one in SMALL if not one.startswith("model.")]
    quick += ["model.system=linear_moe", "train.epochs=1", "evaluation.dense_twin=false"]
    metrics = moe_apps.train("forecasting", data=file, set=quick, output=tmp_path / "run")
    notes = " ".join(metrics["data"]["notes"])
    assert "order" in notes and "constant" in notes
    assert np.isfinite(metrics["test"]["mse"])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for call in (api.evaluate, lambda run: api.export(run, to=tmp_path / "out")):
        with pytest.raises(UserError, match="run"):
            call(tmp_path)
    assert not (tmp_path / "out").exists()


def test_predict_leaves_nothing_half_written(trained, tmp_path):
    run, _ = trained
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("date,load,wind\n2024-01-01,a,b\n2024-01-02,1,2\n")
    with pytest.raises(UserError):
        moe_apps.predict(run, input=wrong, output=tmp_path / "next.csv")
    assert not (tmp_path / "next.csv").exists()
