"""What all tests share. The backend is fixed when Keras is imported: one process for each."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Nearly all the time of small tests under XLA is compilation: the same programs with less polish of
# the machine code. `make test-all` compiles them as for users.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

settings.register_profile("moe_apps", deadline=None)  # a busy machine is no failure
settings.load_profile("moe_apps")


TOGETHER = ("tests/pipelines/acoustic", "tests/pipelines/forecasting", "tests/demos")
"""Folders whose tests share a model that is trained for them, and so one process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes, keep the tests of a file together, or of such a folder."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModel(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            folder = file.rpartition("/")[0]
            return folder if folder in TOGETHER else file

    return ByModel(config, log)


def pytest_collection_finish() -> None:
    """Keep all that was imported out of garbage collections, which Keras asks for at each reset."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test draws the same weights in every run, alone or after others."""
    if "keras" in sys.modules:  # a test that needs no Keras does not wait for it
        sys.modules["keras"].utils.set_random_seed(int(os.environ.get("MOE_APPS_TEST_SEED", "0")))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real benchmark files, which are not part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MOE_APPS_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data in {folder}; set MOE_APPS_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def store_folder() -> Iterator[Path]:
    """Folder for databases, in memory where the system has such: each write waits for the disk."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    where = memory if roomy else None
    with tempfile.TemporaryDirectory(prefix="moe-apps-", dir=where) as folder:
        yield Path(folder)


@pytest.fixture(scope="session", autouse=True)
def tracking_store(store_folder: Path) -> Iterator[str]:
    """A tracking store of the tests' own, so that they write nothing into the project."""
    uri = f"sqlite:///{store_folder / 'tracking' / 'runs.db'}"
    (store_folder / "tracking").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri
