"""Training, judging, resuming and using a trajectory run, through the doors that users have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

import moe_apps
import track_files
from moe_apps.errors import UserError
from moe_apps.pipelines import training
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model
from moe_apps.pipelines.trajectory import pipeline
from moe_apps.pipelines.trajectory.building import FILES, build_model
from moe_apps.pipelines.trajectory.config import SimulatorSettings
from moe_apps.pipelines.trajectory.data import windowed_data
from moe_apps.pipelines.trajectory.simulator import simulate


@pytest.fixture(scope="module")
def settings(tiny, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    return path


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    run = tmp_path_factory.mktemp("runs") / "tiny"
    return run, moe_apps.train("trajectory", config=settings, output=run)


@pytest.fixture(scope="module")
def interaction(tmp_path_factory) -> Path:
    """Simulated tracks in the format of INTERACTION, and one too short to predict from."""
    tracks = simulate(SimulatorSettings(roads=1, vehicles=16, seconds=20), seed=8)
    table = track_files.interaction(tracks)
    short = table[table["track_id"] == table["track_id"].iloc[0]].tail(8).assign(track_id=9999)
    path = tmp_path_factory.mktemp("tracks") / "vehicle_tracks_000.csv"
    pd.concat([table, short]).to_csv(path, index=False)
    return path


def test_a_run_has_all_that_users_look_for(trained):
    run, metrics = trained
    for name in ("config.yaml", "model.keras", "metrics.json", "history.csv", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "saved_model" / "1" / "saved_model.pb").is_file()
    figures = {file.stem for file in (run / "figures").iterdir()}
    assert figures >= {"replays", "rmse_by_horizon", "confusion", "gates_over_time", "training"}
    assert metrics["baselines"]["constant_velocity"]["final_rmse"] > 0
    assert metrics["baselines"]["majority_class"]["macro_f1"] < 0.4
    assert metrics["baselines"]["majority_class"]["final_rmse"] is None
    for errors in (metrics["test"], metrics["dense_twin"]):
        assert list(errors["rmse"]) == ["1s", "2s"]
        assert errors["final_rmse"] == pytest.approx(errors["rmse"]["2s"])
        assert errors["calibration"]["levels"][-1] == 0.95
    total = metrics["parameters"]["total"]
    assert metrics["parameters"]["active"] == total
    assert metrics["parameters"]["dense_twin"] == pytest.approx(total, rel=0.02)
    assert sum(metrics["routing"]["tasks"]["lateral"]["load"]) == pytest.approx(1, abs=1e-3)
    assert set(metrics["training"]["log_variances"]) == {"longitudinal", "lateral", "intention"}
    history = pd.read_csv(run / "history.csv")
    assert history["log_variance/lateral"].abs().max() > 0
    assert json.loads((run / "metrics.json").read_text())["test"] == metrics["test"]


@pytest.mark.slow
def test_lstms_are_trained_and_judged_beside_it(settings, tmp_path):
    run = tmp_path / "run"
    both = moe_apps.train("trajectory", config=settings, set=["evaluation.lstm=true"], output=run)
    assert list(both["baselines"])[:2] == ["lstm_single_task", "lstm_multi_task"]
    for name in ("lstm_single_task", "lstm_multi_task"):
        assert both["baselines"][name]["final_rmse"] > 0
        assert both["baselines"][name]["intention"]["windows"] > 0
        assert both["parameters"][name] > 0
    assert moe_apps.evaluate(run)["baselines"] == both["baselines"]


@pytest.fixture
def alone(tiny, monkeypatch):
    """Train by settings without LSTMs, report and export, which take most of a run's time."""
    monkeypatch.setattr(pipeline, "write_page", lambda *_: None)

    def train(folder: Path, resume: bool = False, twin: bool = False, **model: Any) -> dict:
        evaluation = tiny.evaluation.model_copy(update={"lstm": False, "dense_twin": twin})
        changed = {"evaluation": evaluation, "model": tiny.model.model_copy(update=model)}
        config = tiny.model_copy(update=changed)
        if resume:
            return pipeline.train(config, RunFolder.open(folder, trained=False), True)
        return pipeline.train(config, RunFolder.create("trajectory", folder), False)

    return train


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result_whatever_else_is_trained(trained, alone, tmp_path):
    assert alone(tmp_path / "run")["test"] == trained[1]["test"]


def test_evaluating_judges_all_networks_again(trained):
    run, metrics = trained
    again = moe_apps.evaluate(run)
    assert again["test"] == metrics["test"] and again["baselines"] == metrics["baselines"]


@pytest.mark.slow
def test_an_interrupted_training_resumes_to_the_same_result(trained, alone, tmp_path, monkeypatch):
    fit, calls = training.fit, []

    def interrupted(model, *arguments, **named):
        calls.append(named["title"])
        if named["title"] == "dense twin":
            raise KeyboardInterrupt
        return fit(model, *arguments, **named)

    monkeypatch.setattr(pipeline, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        alone(tmp_path / "run", twin=True)
    monkeypatch.setattr(pipeline, "fit", fit)
    resumed = alone(tmp_path / "run", twin=True, resume=True)
    assert calls == ["TMMOE", "dense twin"]
    assert resumed["test"] == trained[1]["test"]
    assert resumed["dense_twin"] == trained[1]["dense_twin"]


def test_predict_and_the_saved_model_agree(trained, interaction, tmp_path):
    run, _ = trained
    answer = moe_apps.predict(run, input=interaction, output=tmp_path / "next.csv")
    table = pd.read_csv(tmp_path / "next.csv")
    assert answer["rows"] == len(table) == 10 * table["vehicle"].nunique()
    assert any("have no history of 1 s" in note for note in answer["notes"])
    assert 9999 not in set(table["vehicle"])
    one = table[table["vehicle"] == table["vehicle"].iloc[0]]
    np.testing.assert_allclose(one["ahead"], np.arange(1, 11) / 5)
    np.testing.assert_allclose(one[["keep", "left", "right"]].sum(axis=1), 1, atol=1e-5)
    assert (table["x_deviation"] > 0).all()
    served = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["serving_default"]
    example = json.loads((run / "example.json").read_text())
    inputs = {name: tf.constant(value, tf.float32) for name, value in example.items()}
    forecast = served(**inputs)["forecast"].numpy()
    ego = inputs["ego"].numpy()
    # In the frame of the request: on from where the vehicle is, at about its speed.
    assert np.abs(forecast[:, 0] - ego[:, -1]).max() < 15
    assert forecast[0, -1, 0] > ego[0, -1, 0]


@pytest.mark.slow
def test_an_initial_run_gives_its_weights(trained, tiny, tmp_path):
    run, _ = trained
    windows = windowed_data(tiny).train
    model = tiny.model.model_copy(update={"initial": str(run)})
    config = tiny.model_copy(update={"model": model})
    for kind in ("model", "dense_twin"):
        file = FILES[kind]
        built = build_model(config, kind, windows)
        expected = load_model(run / file).get_weights()
        for one, two in zip(built.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, two)
    with pytest.raises(UserError, match=r"has no lstm_multi_task.keras"):
        build_model(config, "lstm_multi_task", windows)
    wider = model.model_copy(update={"channels": 9})
    with pytest.raises(UserError, match=r"model.initial: .*model.keras has other sizes"):
        build_model(tiny.model_copy(update={"model": wider}), "model", windows)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.velocity_seconds=4", "data: .*history 1.0 s at 5.0 Hz has 6 steps"),
        ("data.train_fraction=0.9", "leave nothing for validation"),
        ("model.levels=1", "levels must be at least 2"),
        ("model.gate=softmax", "mmoe"),
        ("data.horizon=60", "windows for training, validation and test"),
        ("model.initial=nowhere", "nowhere: no such run folder"),
    ],
)
def test_bad_settings_are_refused_in_one_line_and_leave_nothing(
    override, message, settings, tmp_path
):
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train("trajectory", config=settings, set=[override], output=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_tracks_too_short_are_refused_and_nothing_is_written(trained, interaction, tmp_path):
    table = pd.read_csv(interaction)
    few = tmp_path / "few.csv"
    table[table["frame_id"] <= 8].to_csv(few, index=False)
    with pytest.raises(UserError, match=r"few.csv: no track is as long as the history of 1 s"):
        moe_apps.predict(trained[0], input=few, output=tmp_path / "next.csv")
    assert not (tmp_path / "next.csv").exists()
    with pytest.raises(UserError, match=r"windows for training, validation and test"):
        moe_apps.train("trajectory", data=few, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
