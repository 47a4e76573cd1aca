from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS
from moe_apps.serving.export import export
from moe_apps.serving.server.run import Running, running
from moe_apps.serving.server.settings import ServerSettings
from tiny_forecaster import TinyForecasting, tiny_forecaster
from toy_domain import ToyConfig
from toy_saved_model import save_toy


@pytest.fixture(scope="session")
def tiny_domain() -> Iterator[TinyForecasting]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DOMAINS._entries, "tiny", TinyForecasting())
        yield TinyForecasting()


@pytest.fixture(scope="session")
def run(tiny_domain: TinyForecasting, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a model that has an optimizer, in bfloat16, and its export as version 1."""
    run = RunFolder.create("tiny", tmp_path_factory.mktemp("runs") / "run")
    run.start(ToyConfig(domain="tiny"))
    model = tiny_forecaster(dtype="mixed_bfloat16")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(run.model_file)
    run.write_metrics({"test": {"mae": 0.5}, "baselines": {"zero": {"mae": 2.0}}})
    export(run, run.saved_model, 1)
    return run


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1 of the toy; copy it, do not write into it."""
    folder = tmp_path_factory.mktemp("toy") / "served"
    save_toy(folder / "toy" / "1")
    return folder


@pytest.fixture(scope="session")
def server(toy: Path) -> Iterator[Running]:
    settings = ServerSettings(
        toy, rest_port=0, grpc_port=0, timeout=3, max_body_bytes=2**20, threads=1
    )
    with running(settings) as server:
        yield server
