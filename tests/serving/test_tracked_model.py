from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
import uvicorn

from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking import tracked
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.serving import tracked_model
from tiny_forecaster import TinyForecasting, history

LOAD = """
import sys
import numpy as np
import mlflow

model = mlflow.pyfunc.load_model("models:/tiny/1")
inputs = {"history": np.load(sys.argv[1]), "horizon": np.array(9, np.int32)}
np.save(sys.argv[2], model.predict(inputs)["forecast"])
np.save(sys.argv[3], model.predict(model.input_example)["forecast"])
assert "moe_apps" not in sys.modules
"""


@pytest.fixture(scope="module")
def store(run: RunFolder, store_folder: Path) -> str:
    """A store with a finished run, and its model logged."""
    (store_folder / "tracked_model").mkdir()
    uri = f"sqlite:///{store_folder / 'tracked_model' / 'runs.db'}"
    with tracked("tiny", uri=uri) as tracker:
        run.write_details(mlflow_run=tracker.run_id, mlflow_uri=uri)
    return uri


def test_logs_and_registers_the_model(
    run: RunFolder, store: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = mlflow.get_tracking_uri(), mlflow.active_run()
    tracked_model.log(run)
    assert capfd.readouterr().out == ""
    assert (mlflow.get_tracking_uri(), mlflow.active_run()) == before

    client = quiet_client(store)
    entry = client.get_run(run.read_details()["mlflow_run"])
    assert entry.info.status == "FINISHED"
    [logged] = entry.outputs.model_outputs
    [registered] = client.search_model_versions("name = 'tiny'")
    assert registered.run_id == entry.info.run_id
    model = client.get_logged_model(logged.model_id)
    assert registered.source == model.artifact_location
    assert model.status == "READY"
    assert model.source_run_id == entry.info.run_id
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert (folder / "data" / "1" / "saved_model.pb").is_file()
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".lock")]

    about = mlflow.models.Model.load(str(folder))
    assert about.signature.inputs.input_dict()["history"].shape == (-1, -1)
    assert about.signature.inputs.input_dict()["horizon"].shape == ()
    assert about.signature.outputs.input_names() == ["forecast"]
    assert about.saved_input_example_info is not None


def test_a_process_without_moe_apps_gets_the_same_forecasts(
    run: RunFolder, store: str, tiny_domain: TinyForecasting, tmp_path: Path
) -> None:
    if not quiet_client(store).search_registered_models():
        tracked_model.log(run)
    np.save(tmp_path / "history.npy", history())
    subprocess.run(
        [sys.executable, "-I", "-c", LOAD, "history.npy", "forecast.npy", "example.npy"],
        cwd=tmp_path,
        env={"MLFLOW_TRACKING_URI": store, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=True,
        timeout=600,
    )
    served = tiny_domain.served(run)
    default = served.signatures["serving_default"]
    expected = default(history(), 9)["forecast"]
    np.testing.assert_allclose(np.load(tmp_path / "forecast.npy"), expected, atol=1e-4)
    expected = default(**served.example)["forecast"]
    np.testing.assert_allclose(np.load(tmp_path / "example.npy"), expected, atol=1e-4)


def test_mlflow_models_serve_answers(
    run: RunFolder, store: str, tiny_domain: TinyForecasting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the application that `mlflow models serve` runs."""
    from mlflow.pyfunc import scoring_server

    if not quiet_client(store).search_registered_models():
        tracked_model.log(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    listening = socket.create_server(("127.0.0.1", 0))
    app = scoring_server.init(mlflow.pyfunc.load_model("models:/tiny/1"))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert requests.get(f"{url}/ping", timeout=60).status_code == 200
        body = {"inputs": {"history": history().tolist(), "horizon": 9}}
        response = requests.post(f"{url}/invocations", json=body, timeout=60)
        assert response.status_code == 200, response.text
        found = response.json()["predictions"]["forecast"]
        bad = requests.post(f"{url}/invocations", json={"inputs": {"x": 1}}, timeout=60)
        assert bad.status_code == 400
    finally:
        server.should_exit = True
        thread.join()
    expected = tiny_domain.served(run).signatures["serving_default"](history(), 9)["forecast"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_each_run_becomes_one_version(run: RunFolder, store: str) -> None:
    client = quiet_client(store)
    tracked_model.log(run)
    [version] = client.search_model_versions("name = 'tiny'")
    assert not tracked_model.log(run)
    assert len(client.search_model_versions("name = 'tiny'")) == 1
    assert version.tags["metric"] == "mae" and version.tags["value"] == "0.5"
    assert client.get_registered_model("tiny").aliases == {"champion": version.version}


def test_a_failure_is_one_warning(
    run: RunFolder, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tracked("tiny", uri=store) as tracker:
        details = {**run.read_details(), "mlflow_run": tracker.run_id}

    def fail(*_: object) -> None:
        raise OSError("No space left on device\nand more")

    monkeypatch.setattr(tracked_model, "_save", fail)
    monkeypatch.setattr(RunFolder, "read_details", lambda self: details)
    with caplog.at_level(logging.WARNING, "moe_apps"):
        tracked_model.log(run)
    [record] = caplog.records
    expected = f"the model is not in MLflow at {details['mlflow_uri']}: No space left on device"
    assert record.getMessage() == expected


def test_a_run_that_is_not_tracked_is_left_alone(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(RunFolder, "read_details", lambda self: {"mlflow_run": None})
    tracked_model.log(run)
    assert not caplog.records
