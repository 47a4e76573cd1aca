"""What `serve-config` writes is read back by the protocol's own messages and by our server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from moe_apps.errors import RunError
from moe_apps.serving.deployment.files import write_deployment
from moe_apps.serving.deployment.protocol import BatchingParameters, MonitoringConfig
from moe_apps.serving.server.sources import read_config

ROWS = {"dtype": "float32", "shape": [None, 2]}
SCALAR = {"dtype": "int32", "shape": []}


def model(folder: Path, name: str, *numbers: int, **inputs: Any) -> None:
    for number in numbers:
        version = folder / name / str(number)
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_bytes(bytes(1000))
        signatures = {"serving_default": {"inputs": inputs, "outputs": {"y": ROWS}}}
        (version / "MODEL.json").write_text(json.dumps({"signatures": signatures}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model(tmp_path / "served", "cars", 3, x=ROWS)
    model(tmp_path / "served", "ships", 2, 9, 10, x=ROWS)
    (tmp_path / "served" / "notes").mkdir()
    return tmp_path / "served"


@pytest.fixture
def written(folder: Path, tmp_path: Path) -> dict[str, str]:
    files = write_deployment(folder, tmp_path / "out")
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    return {file.name: file.read_text() for file in files}


def test_models_config(written: dict[str, str], folder: Path, tmp_path: Path) -> None:
    message = text_format.Parse(written["models.config"], ModelServerConfig())
    cars, ships = message.model_config_list.config
    assert (cars.name, cars.base_path, cars.model_platform) == (
        "cars", "/models/cars", "tensorflow",
    )  # fmt: skip
    assert list(ships.model_version_policy.specific.versions) == [9, 10]
    assert dict(ships.version_labels) == {"stable": 9, "canary": 10}
    assert dict(cars.version_labels) == {"stable": 3}
    ours = {source.name: source for source in read_config(tmp_path / "out/models.config", folder)}
    assert ours["ships"].base == folder / "ships"
    assert ours["ships"].wanted([2, 9, 10]) == [9, 10]


def test_batching_and_monitoring(written: dict[str, str]) -> None:
    batching = text_format.Parse(written["batching.config"], BatchingParameters())
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(sizes) and sizes[-1] == batching.max_batch_size.value
    assert not batching.pad_variable_length_inputs
    assert "max_batch_size {\n  value: 32\n}" in written["batching.config"]
    monitoring = text_format.Parse(written["monitoring.config"], MonitoringConfig())
    assert monitoring.prometheus_config.enable
    [scrape] = yaml.safe_load(written["prometheus.yaml"])["scrape_configs"]
    assert scrape["metrics_path"] == monitoring.prometheus_config.path


def test_compose(written: dict[str, str], folder: Path) -> None:
    serving = yaml.safe_load(written["compose.yaml"])["services"]["serving"]
    assert serving["image"].startswith("tensorflow/serving:")
    assert "--model_config_file=/config/models.config" in serving["command"]
    assert "--enable_batching=true" in serving["command"]
    assert f"{folder.resolve()}:/models:ro" in serving["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in serving["ports"])
    assert "/v1/models/cars" in serving["healthcheck"]["test"][-1]
    assert serving["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


def test_kubernetes(written: dict[str, str]) -> None:
    parts = {one["kind"]: one for one in yaml.safe_load_all(written["kubernetes.yaml"])}
    assert parts.keys() == {"ConfigMap", "Deployment", "Service"}
    for name in ("models.config", "batching.config", "monitoring.config"):
        assert parts["ConfigMap"]["data"][name] == written[name]
    template = parts["Deployment"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/cars", "port": 8501}
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert template["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    assert template["metadata"]["labels"] == parts["Service"]["spec"]["selector"]


def test_batching_is_off_where_a_signature_cannot_be_batched(folder: Path, tmp_path: Path) -> None:
    model(folder, "waves", 1, history=ROWS, horizon=SCALAR)
    write_deployment(folder, tmp_path / "out")
    compose = yaml.safe_load((tmp_path / "out/compose.yaml").read_text())
    assert "--enable_batching=true" not in compose["services"]["serving"]["command"]
    text = (tmp_path / "out/README.md").read_text()
    assert "waves, serving_default: input horizon is a scalar" in text


def test_dockerfiles_install_from_the_project(written: dict[str, str]) -> None:
    for name in ("train-cpu.Dockerfile", "train-gpu.Dockerfile", "demo.Dockerfile"):
        lines = written[name].splitlines()
        assert sum(line.startswith("FROM ") for line in lines) == 1
        assert any(line.startswith("USER ") and "root" not in line for line in lines)
    extras = Path(__file__).parents[3].joinpath("setup.cfg").read_text()
    for extra in ("cuda", "samples", "serving", "demos"):
        assert f"\n{extra} =\n" in extras


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none: cannot be read: No such file"):
        write_deployment(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"has no model; write one by moe-apps export"):
        write_deployment(tmp_path / "empty", tmp_path / "out")
    (folder / "cars" / "3" / "MODEL.json").unlink()
    with pytest.raises(RunError, match=r"MODEL\.json: cannot be read"):
        write_deployment(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: cannot be written"):
        write_deployment(_mended(folder), tmp_path / "file")


def _mended(folder: Path) -> Path:
    (folder / "cars" / "3").rename(folder / "three")
    (folder / "cars").rmdir()
    return folder
