"""Every domain's model through the local server: small models here, trained runs when slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import moe_apps
import track_files
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


class Trained(NamedTuple):
    """How a domain is trained in no time, and how what it predicts is found in both answers."""

    data: Path | None
    settings: list[str]
    input: Path
    written: Callable[[Path], np.ndarray]
    answered: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    output: str = "next.csv"
    tolerance: float = 1e-4


def forecasting(folder: Path) -> Trained:
    hours = np.arange(300)
    time = pd.date_range("2024-01-01", periods=300, freq="h")
    columns = {"time": time, "x": np.sin(hours / 4.0), "y": 5 + np.cos(hours / 7.0)}
    pd.DataFrame(columns).to_csv(folder / "x.csv", index=False)
    sizes = ["data.look_back=24", "data.horizon=12", "model.num_layers=1", "model.hidden_dim=8"]
    return Trained(
        folder / "x.csv",
        [*sizes, "train.steps_per_epoch=4", "evaluation.stride=24"],
        folder / "x.csv",
        lambda path: pd.read_csv(path)["forecast"].to_numpy(),
        lambda outputs: outputs["forecast"],
    )


def recommendation(folder: Path) -> Trained:
    import yaml

    from moe_apps.pipelines.recommendation.generator import GeneratorSettings, write_log

    small = GeneratorSettings(users=40, items=30, length=4)
    schema = write_log(folder / "log", 900, small, part_rows=500)
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema.model_dump(mode="json")))
    sizes = ["model.units=[8]", "model.tower_units=[]", "model.num_experts=2"]
    sizes += ["train.batch_size=128", "evaluation.boosting=false"]
    return Trained(
        folder / "log",
        [*sizes, f"data.schema_file={folder / 'schema.yaml'}"],
        folder / "log",
        lambda path: pd.read_csv(path)["click"].to_numpy(),
        lambda outputs: outputs["click"],
    )


def trajectory(folder: Path) -> Trained:
    from moe_apps.pipelines.trajectory.config import SimulatorSettings
    from moe_apps.pipelines.trajectory.simulator import simulate

    tracks = simulate(SimulatorSettings(roads=1, vehicles=16, seconds=20), seed=8)
    file = folder / "vehicle_tracks_000.csv"
    track_files.interaction(tracks).to_csv(file, index=False)
    return Trained(
        None,
        ["data.simulator.roads=10", "data.simulator.vehicles=16", "data.simulator.seconds=30"],
        file,
        lambda path: pd.read_csv(path)[["x", "y"]].to_numpy(),
        lambda outputs: outputs["forecast"],
    )


def deraining(folder: Path) -> Trained:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(noise).resize((112, 80)).save(folder / "rainy.png")
    sizes = ["model.width=4", "data.test_size=32", "train.patch=16", "train.batch_size=2"]
    return Trained(
        None,
        [*sizes, "train.steps_per_epoch=2", "evaluation.validation_images=2"],
        folder / "rainy.png",
        lambda path: np.asarray(Image.open(path), np.float64),
        lambda outputs: outputs["restored"].astype(np.float64),
        "clean.png",
        1.01 / 255,  # both are rounded to 8 bits
    )


def acoustic(folder: Path) -> Trained:
    soundfile = pytest.importorskip("soundfile")
    time = np.arange(3 * 8000) / 8000
    random = np.random.default_rng(0)
    for label, low in ("low", 300), ("high", 1500):
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(8):
            tone = 0.3 * np.sin(2 * np.pi * (low + 20 * number) * time)
            sound = (tone + 0.05 * random.normal(size=time.size)).astype(np.float32)
            soundfile.write(folder / "sounds" / label / f"{number}.wav", sound, 8000)
    sizes = ["data.sample_rate=8000", "data.segment=1.0", "features.bands=16"]
    sizes += ["features.frame_ms=32", "features.hop_ms=16", "features.f_min=50"]
    return Trained(
        folder / "sounds",
        [*sizes, "model.front_end=tiny", "model.num_experts=3", "train.batch_size=8"],
        folder / "sounds" / "high" / "0.wav",
        lambda path: probabilities(pd.read_csv(path)),
        lambda outputs: np.append(outputs["segment_probability"], outputs["probability"]),
    )


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """Of the segments, then of the recording."""
    return table.filter(regex="^p_").to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("domain", [forecasting, recommendation, trajectory, deraining, acoustic])
def test_a_trained_run_from_export_to_both_protocols(
    domain: Callable[[Path], Trained], tmp_path: Path
) -> None:
    name, case = domain.__name__, domain(tmp_path)
    settings = ["train.epochs=1", *case.settings]
    run = tmp_path / "run"
    moe_apps.train(name, data=case.data, set=settings, quick=True, output=run, seed=1)
    version = moe_apps.export(run, to=tmp_path / "served")
    assert version == tmp_path / "served" / name / "1"
    given = example(tmp_path / "served", name)
    with running(ServerSettings(tmp_path / "served", rest_port=0, grpc_port=0)) as server:
        check_answers(server, name, version, given)
        check_independence(server, name, given)
        done = moe_apps.predict(run, input=case.input, output=tmp_path / case.output)
        written = case.written(tmp_path / case.output)
        assert done["rows"] == (1 if written.ndim == 3 else len(written))  # an image, or a table
        for url in (server.rest, f"grpc://{server.grpc}"):
            answer = case.answered(moe_apps.call(url, name, input=case.input, run=run))
            np.testing.assert_allclose(
                answer.reshape(written.shape),
                written,
                rtol=0,
                atol=case.tolerance * max(np.abs(written).max(), 1),
            )
