from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from moe_apps.pipelines.tracking import tracked
from moe_apps.pipelines.tracking_store import quiet_client, tracking_uri


@pytest.fixture(scope="module")
def uri(store_folder) -> str:
    (store_folder / "test_tracking").mkdir()
    return f"sqlite:///{store_folder / 'test_tracking' / 'mlflow.db'}"


def test_default_store_is_a_file_here_and_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking_uri() == "http://example.org"


def test_a_run_holds_everything_about_a_training(uri, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"image")
    (tmp_path / "config.yaml").write_text("seed: 0")
    many = {f"p{number}": number for number in range(250)}
    with tracked("forecasting", name="first", uri=uri) as tracker:
        tracker.parameters({"model": {"experts": 8, "bias": None}, "long": "x" * 9000, **many})
        for epoch in (1, 2):
            tracker.epoch(epoch, {"epoch": epoch, "loss": 1 / epoch, "seconds": 2.0})
        tracker.metrics(
            {
                "test": {"mse": np.float32(0.5), "nothing": None, "nan": float("nan")},
                "baselines": {"ridge (512)": {"mse": 0.25}},
                "by_step": [0.1, 0.2, 0.3],
                "by_series": {f"series {number}": 1.0 for number in range(201)},
                "system": "time_moe",
                "flag": True,
            }
        )
        tracker.dataset("ETTh1", digest="a" * 64, source="ETTh1.csv", facts={"rows": 10})
        tracker.artifact(tmp_path / "config.yaml")
        tracker.artifact(tmp_path / "figures", "figures")
    client = quiet_client(uri)
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert client.get_experiment(run.info.experiment_id).name == "forecasting"
    assert run.data.params["model.experts"] == "8" and run.data.params["model.bias"] == "None"
    assert len(run.data.params) == 253
    metrics = {name: v for name, v in run.data.metrics.items() if not name.startswith("system/")}
    assert len(run.data.metrics) == len(metrics) + 5 and metrics == {
        "loss": 0.5,
        "seconds": 2.0,
        "test.mse": 0.5,
        "baselines.ridge _512_.mse": 0.25,
        "by_step": 0.3,
    }
    steps = [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "by_step")]
    assert steps == [(1, 0.1), (2, 0.2), (3, 0.3)]
    losses = [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "loss")]
    assert losses == [(1, 1.0), (2, 0.5)]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("ETTh1", "a" * 36)
    assert {file.path for file in client.list_artifacts(tracker.run_id)} == {
        "config.yaml",
        "figures",
    }
    folder = uri.removeprefix("sqlite:///").replace("mlflow.db", "mlartifacts")
    assert run.info.artifact_uri.startswith(f"file://{folder}")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")]
)
def test_how_a_run_ended_is_kept(uri, error, status):
    with pytest.raises(error), tracked("forecasting", uri=uri) as tracker:
        raise error
    assert quiet_client(uri).get_run(tracker.run_id).info.status == status


def test_a_resumed_training_goes_on_in_its_run(uri):
    with tracked("forecasting", uri=uri) as first:
        first.parameters({"seed": 1})
        first.epoch(1, {"loss": 3.0})
    with tracked("forecasting", uri=uri, run_id=first.run_id) as second:
        assert quiet_client(uri).get_run(first.run_id).info.status == "RUNNING"
        second.parameters({"seed": 2, "new": 3})
        second.epoch(2, {"loss": 2.0})
    run = quiet_client(uri).get_run(first.run_id)
    assert second.run_id == first.run_id and run.info.status == "FINISHED"
    assert run.data.params == {"seed": "1", "new": "3"} and run.data.metrics["loss"] == 2.0


def test_a_run_that_is_gone_is_replaced_by_a_new_one(uri):
    with tracked("forecasting", uri=uri, run_id="0" * 32) as tracker:
        tracker.epoch(1, {"loss": 1.0})
    assert tracker.run_id not in (None, "0" * 32)


def test_a_deleted_experiment_is_brought_back(uri):
    with tracked("other", uri=uri):
        pass
    client = quiet_client(uri)
    client.delete_experiment(client.get_experiment_by_name("other").experiment_id)
    with tracked("other", uri=uri) as tracker:
        pass
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("kind", ["server", "folder"])
def test_a_dead_store_costs_one_warning_not_the_training(kind, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://127.0.0.1:9" if kind == "server" else "sqlite:////proc/none/mlflow.db"
    started = time.monotonic()
    with tracked("forecasting", uri=uri) as tracker:
        tracker.parameters({"seed": 0})
        for epoch in range(5):
            tracker.epoch(epoch, {"loss": 1.0})
        tracker.artifact(tmp_path)
    assert tracker.run_id is None and time.monotonic() - started < 20
    (record,) = [record for record in caplog.records if record.name == "moe_apps"]
    assert record.getMessage().startswith(f"tracking in MLflow at {uri} stopped: ")
    assert "\n" not in record.getMessage()


def test_a_call_that_fails_on_the_way_costs_one_warning(uri, caplog):
    with tracked("forecasting", uri=uri) as tracker:
        tracker.artifact(Path("no such file"))
        tracker.artifact(Path("no such file either"))
    assert quiet_client(uri).get_run(tracker.run_id).info.status == "FINISHED"
    assert len([record for record in caplog.records if record.name == "moe_apps"]) == 1


def test_first_use_prints_nothing(tmp_path):
    script = """
from moe_apps.pipelines.tracking import tracked
import sys
assert "mlflow" not in sys.modules
with tracked("demo") as tracker:
    tracker.metrics({"mse": 1.0})
assert tracker.run_id
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "mlflow.db").is_file()
