"""What all tests share. The backend is fixed when Keras is imported: one process for each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

settings.register_profile("moe_apps", deadline=None)  # a busy machine is no failure
settings.load_profile("moe_apps")


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


@pytest.fixture(scope="session", autouse=True)
def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tracking store of the tests' own, so that they write nothing into the project."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'runs.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri
