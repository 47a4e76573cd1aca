from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moe_apps.serving.server.run import Running, running
from moe_apps.serving.server.settings import ServerSettings
from toy_saved_model import save_toy


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
