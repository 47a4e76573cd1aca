"""Every domain's model through the local server: small models here, trained runs when slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moe_apps
from moe_apps.models.trajectory import tmmoe
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.trajectory.served import served_model
from moe_apps.registry import DOMAINS
from moe_apps.serving.export import EXAMPLE, export
from moe_apps.serving.server.run import Running, running
from moe_apps.serving.server.settings import ServerSettings
from served_checks import check_answers, check_independence
from tiny_forecaster import TinyForecasting, history, served, tiny_forecaster


class Float32Forecasting(TinyForecasting):
    """Serves the forecaster in float32.

    A session and a function fuse different operations; where a CPU has kernels for bfloat16, they
    then round at different places.
    """

    def served(self, run: RunFolder) -> Served:
        return served(tiny_forecaster())


class TinyTrajectory(TinyForecasting):
    """Serves an untrained model whose weights are large enough for its inputs to matter."""

    def served(self, run: RunFolder) -> Served:
        sizes = {"channels": 6, "expert_dim": 5, "head_dim": 4, "velocity_span": 2}
        model = tmmoe("tiny", history_steps=8, horizon=5, rate=5.0, **sizes)
        random = np.random.default_rng(1)
        for variable in model.trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(0.3 * random.normal(size=variable.shape))
        example = {name: np.repeat(value, 3, axis=0) for name, value in model.example().items()}
        example["ego"] += random.normal(0, 1, example["ego"].shape).astype(np.float32)
        return served_model(model, example=example, card={})


@pytest.fixture(scope="module")
def folder(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("domains")
    with pytest.MonkeyPatch.context() as patch:
        for name, domain in ("forecasting", Float32Forecasting()), ("trajectory", TinyTrajectory()):
            patch.setitem(DOMAINS._entries, "tiny", domain)
            export(run, folder / name)
    return folder


@pytest.fixture(scope="module")
def domains(folder: Path) -> Iterator[Running]:
    with running(ServerSettings(folder, rest_port=0, grpc_port=0)) as server:
        yield server


def example(folder: Path, name: str) -> dict[str, np.ndarray]:
    inputs = read_json(folder / name / "1" / EXAMPLE)["inputs"]
    specs = read_json(folder / name / "1" / "MODEL.json")["signatures"]["serving_default"]["inputs"]
    kinds = {
        key: object if spec["dtype"] == "string" else spec["dtype"] for key, spec in specs.items()
    }
    return {key: np.array(inputs[key], kinds[key]) for key in specs}


@pytest.mark.parametrize("name", ["forecasting", "trajectory"])
def test_answers_are_the_models(domains: Running, folder: Path, name: str) -> None:
    check_answers(domains, name, folder / name / "1", example(folder, name))


@pytest.mark.parametrize("name", ["forecasting", "trajectory"])
def test_answers_do_not_depend_on_the_batch(domains: Running, folder: Path, name: str) -> None:
    check_independence(domains, name, example(folder, name))


def test_gaps_in_a_history_go_by_json(domains: Running, folder: Path) -> None:
    gappy = history(2)
    gappy[0, :3] = gappy[1, 7] = np.nan
    horizon = np.array(3, np.int32)
    check_answers(
        domains, "forecasting", folder / "forecasting" / "1",
        {"history": gappy, "horizon": horizon},
    )  # fmt: skip


def forecasting(data: Path) -> tuple[Path, list[str]]:
    hours = np.arange(300)
    time = pd.date_range("2024-01-01", periods=300, freq="h")
    columns = {"time": time, "x": np.sin(hours / 4.0), "y": 5 + np.cos(hours / 7.0)}
    pd.DataFrame(columns).to_csv(data / "x.csv", index=False)
    sizes = ["data.look_back=24", "data.horizon=12", "model.num_layers=1", "model.hidden_dim=8"]
    return data / "x.csv", [*sizes, "train.steps_per_epoch=4", "evaluation.stride=24"]


def recommendation(data: Path) -> tuple[Path, list[str]]:
    import yaml

    from moe_apps.pipelines.recommendation.generator import GeneratorSettings, write_log

    small = GeneratorSettings(users=40, items=30, length=4)
    schema = write_log(data / "log", 900, small, part_rows=500)
    (data / "schema.yaml").write_text(yaml.safe_dump(schema.model_dump(mode="json")))
    sizes = ["model.units=[8]", "model.tower_units=[]", "model.num_experts=2"]
    sizes += ["train.batch_size=128", "evaluation.boosting=false"]
    return data / "log", [*sizes, f"data.schema_file={data / 'schema.yaml'}"]


def trajectory(data: Path) -> tuple[Path | None, list[str]]:
    return None, []


@pytest.mark.slow
@pytest.mark.parametrize("settings", [forecasting, recommendation, trajectory])
def test_a_trained_run_from_export_to_both_protocols(
    settings: Callable[[Path], Any], tmp_path: Path
) -> None:
    name = settings.__name__
    if name not in DOMAINS.names():
        pytest.skip(f"{name} is no domain yet")
    data, sizes = settings(tmp_path)
    moe_apps.train(
        name, data=data, set=["train.epochs=1", *sizes], quick=True, output=tmp_path / "run", seed=1
    )
    version = moe_apps.export(tmp_path / "run", to=tmp_path / "served")
    assert version == tmp_path / "served" / name / "1"
    given = example(tmp_path / "served", name)
    with running(ServerSettings(tmp_path / "served", rest_port=0, grpc_port=0)) as server:
        check_answers(server, name, version, given)
        check_independence(server, name, given)
        if data is not None:
            done = moe_apps.predict(tmp_path / "run", input=data, output=tmp_path / "next.csv")
            answer = moe_apps.call(server.rest, name, input=data, run=tmp_path / "run")
            table = pd.read_csv(tmp_path / "next.csv")
            assert len(table) == done["rows"]
            columns = {"forecasting": "forecast", "trajectory": "x", "recommendation": "click"}
            found = table[columns[name]].to_numpy()
            output = answer["click" if name == "recommendation" else "forecast"]
            output = output[..., 0] if name == "trajectory" else output
            scale = max(np.abs(found).max(), 1)
            np.testing.assert_allclose(output.reshape(-1), found, rtol=0, atol=1e-4 * scale)
