"""A tracking server of MLflow elsewhere, and one that goes away in the middle of a training."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from moe_apps import api
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_run
from moe_apps.pipelines.tracking import Tracker
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.serving import tracked_model
from toy_domain import ToyConfig

FACTS = {"source": "x.csv", "digest": "0f3a", "test_digest": "77b0", "rows": 3}


class TrackingServer:
    """`mlflow server` on a port of its own, with its runs and files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
            *("--artifacts-destination", str(self.folder / "files")),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(600):
            try:
                if requests.get(f"{self.uri}/health", timeout=5).status_code == 200:
                    return
            except requests.ConnectionError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.1)
        raise TimeoutError("mlflow server did not start")

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(store_folder: Path) -> Iterator[TrackingServer]:
    (store_folder / "server").mkdir()
    server = TrackingServer(store_folder / "server")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def exported_run(folder: Path, run: RunFolder, mse: float = 0.5) -> RunFolder:
    """A run that is tracked from its start, with the model of `run`."""
    copy = RunFolder(folder)
    facts = {**FACTS, "rows": 4}
    with tracked_run(ToyConfig(domain="tiny"), copy, False, facts) as tracker:
        for epoch in (1, 2):
            tracker.epoch(epoch, {"loss": 1 / epoch, "moe/load_0": 0.75})
        copy.figures.mkdir()
        copy.figures.joinpath("a.png").write_bytes(b"image")
        copy.write_metrics({"test": {"mae": mse}, "data": FACTS})
    shutil.copytree(run.saved_model, copy.saved_model)
    return copy


def test_a_server_gets_the_run_its_files_and_its_model(
    server: TrackingServer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    copy = exported_run(tmp_path / "first", run)
    assert tracked_model.log(copy)
    client = quiet_client(server.uri)
    entry = client.get_run(copy.read_details()["mlflow_run"])
    assert entry.info.status == "FINISHED" and entry.data.metrics["moe/load_0"] == 0.75
    assert {one.path for one in client.list_artifacts(entry.info.run_id)} >= {"figures"}
    assert list((server.folder / "files").rglob("a.png"))
    version = client.get_model_version_by_alias("tiny", "champion")
    assert version.run_id == entry.info.run_id and version.tags["test_digest"] == "77b0"
    assert list((server.folder / "files").rglob("saved_model.pb"))
    assert not tracked_model.log(copy)  # it is there already
    assert api.sync(copy.path)["runs"][0]["sent"] == 0


@pytest.mark.slow
def test_a_server_that_is_lost_stops_no_training_and_gets_the_rest_later(
    server: TrackingServer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    copy, epochs = RunFolder(tmp_path / "second"), range(1, 7)
    with tracked_run(ToyConfig(domain="tiny"), copy, False, FACTS) as tracker:
        for epoch in epochs:
            if epoch == 3:
                server.stop()
                lost = time.monotonic()
            tracker.epoch(epoch, {"loss": 1 / epoch})
        copy.write_metrics({"test": {"mae": 0.4}, "data": FACTS})
    shutil.copytree(run.saved_model, copy.saved_model)
    assert not tracked_model.log(copy)
    assert time.monotonic() - lost < 20
    server.start()
    client = quiet_client(server.uri)
    run_id = copy.read_details()["mlflow_run"]
    assert len(client.get_metric_history(run_id, "loss")) == 2
    [found] = api.sync(copy.path)["runs"]
    assert (found["mlflow_run"], found["registered"]) == (run_id, True) and found["sent"] > 4
    assert [one.step for one in client.get_metric_history(run_id, "loss")] == list(epochs)
    assert client.get_run(run_id).info.status == "FINISHED"
    again = api.sync(copy.path)["runs"][0]
    assert (again["sent"], again["registered"]) == (0, False)
    assert len(client.search_model_versions(f"name = 'tiny' and run_id = '{run_id}'")) == 1


@pytest.mark.slow
def test_a_real_training_goes_on_without_its_server(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.chdir(tmp_path)
    log_epoch = Tracker.epoch

    def lose_server(self: Tracker, epoch: int, values: Any) -> None:
        if epoch == 2:
            server.stop()
        log_epoch(self, epoch, values)

    monkeypatch.setattr(Tracker, "epoch", lose_server)
    result = api.train(
        "forecasting",
        output="run",
        quick=True,
        set=[
            "data.look_back=24", "model.num_layers=1", "model.hidden_dim=8", "train.epochs=4",
            "train.steps_per_epoch=2", "evaluation.stride=96", "evaluation.dense_twin=false",
        ],
    )  # fmt: skip
    assert result["test"]["mse"] > 0 and Path("run/saved_model/1").is_dir()
    server.start()
    [found] = api.sync("run")["runs"]
    assert found["registered"] and not found["refused"]
    client = quiet_client(server.uri)
    steps = [one.step for one in client.get_metric_history(found["mlflow_run"], "val_mse")]
    assert steps == [1, 2, 3, 4]
    files = {one.path for one in client.list_artifacts(found["mlflow_run"])}
    assert files >= {"report.html", "figures", "history.csv", "environment.json"}
    assert api.sync("run")["runs"][0]["sent"] == 0
