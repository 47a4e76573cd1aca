"""New versions, broken versions and versions that go away, while requests come in."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from moe_apps.serving.export import CARD
from moe_apps.serving.server import models as module
from moe_apps.serving.server.models import AVAILABLE, END, Models
from moe_apps.serving.server.sources import Source
from moe_apps.serving.server.status import Code, StatusError
from moe_apps.serving.version_folders import digests
from toy_saved_model import ROWS


@pytest.fixture
def base(toy: Path, tmp_path: Path) -> Path:
    """A folder of one's own with version 1 of the toy."""
    shutil.copytree(toy / "toy" / "1", tmp_path / "toy" / "1")
    return tmp_path / "toy"


@pytest.fixture
def start(base: Path) -> Iterator[Callable[..., Models]]:
    started: list[Models] = []

    def begin(source: Source | None = None) -> Models:
        models = Models([source or Source("toy", base)])
        models.refresh()
        started.append(models)
        return models

    yield begin
    for models in started:
        models.stop()


def copy(base: Path, number: int, card: bool = True) -> Path:
    """A further version, that appears whole as an export does."""
    folder = base / f"copying-{number}"
    shutil.copytree(base / "1", folder)
    if card:
        (folder / CARD).write_text(json.dumps({"files": digests(folder)}))
    folder.rename(base / str(number))
    return base / str(number)


def answered_by(models: Models, **which: object) -> int:
    """The version that answers, which it does rightly."""
    model = models.get("toy", **which)
    try:
        signature = model.signatures["serving_default"]
        y = model.run(signature, {"x": ROWS}, ("y",), timeout=10)["y"]
        np.testing.assert_allclose(y, 2 * ROWS)
        return model.version
    finally:
        model.release()


def settle(models: Models, times: int = 3) -> None:
    for _ in range(times):
        models.refresh()


def test_switches_to_a_new_version_under_load(base: Path, start: Callable[..., Models]) -> None:
    models = start()
    seen: list[int] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                seen.append(answered_by(models))
            except Exception as error:
                failures.append(error)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for number in (2, 3):
        copy(base, number)
        models.refresh()
        count = len(seen)
        while len(seen) < count + 8 and not failures:
            pass
    stop.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert set(seen) == {1, 2, 3}
    assert models.served() == {"toy": [3]}
    assert models.states("toy", 1)[1] == (END, Code.OK, "")


def truncated(folder: Path) -> None:
    [data] = (folder / "variables").glob("*data*")
    os.truncate(data, data.stat().st_size // 2)


def without_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def garbage(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"no model" * 100)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("card", [True, False], ids=["with a card", "without"])
@pytest.mark.parametrize("damage", [truncated, without_variables, garbage, empty])
def test_a_broken_version_is_told_once_and_the_old_one_answers(
    base: Path,
    start: Callable[..., Models],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    card: bool,
) -> None:
    models = start()
    if damage is empty and card:
        pytest.skip("an empty folder has no card")
    damage(copy(base, 2, card))
    with caplog.at_level(logging.INFO, "moe_apps.serving"):
        settle(models, 4)
    [record] = caplog.records
    assert "version 2 cannot be served: " in record.getMessage()
    assert record.getMessage().endswith("; served: 1")
    assert "\n" not in record.getMessage()
    assert answered_by(models) == 1
    with pytest.raises(StatusError, match=r"Specific\(toy, 2\)"):
        answered_by(models, version=2)
    state, code, message = models.states("toy", 2)[2]
    assert state == END and code is not Code.OK and message
    shutil.rmtree(base / "2")
    copy(base, 2)
    settle(models)
    assert answered_by(models) == 2, "a version that was mended is served"


def test_a_folder_that_is_being_copied_is_left_alone(
    base: Path, start: Callable[..., Models], caplog: pytest.LogCaptureFixture
) -> None:
    models = start()
    with caplog.at_level(logging.INFO, "moe_apps.serving"):
        (base / "2").mkdir()
        models.refresh()
        shutil.copy(base / "1" / "saved_model.pb", base / "2")
        models.refresh()
        shutil.copytree(base / "1" / "assets", base / "2" / "assets")
        models.refresh()
        (base / "2" / "variables").mkdir()
        for file in sorted((base / "1" / "variables").iterdir()):
            shutil.copy(file, base / "2" / "variables")
            models.refresh()
        assert answered_by(models) == 1
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
        models.refresh()
    assert answered_by(models) == 2


def test_after_a_restart_an_older_version_rather_than_none(
    base: Path, start: Callable[..., Models]
) -> None:
    truncated(copy(base, 2))
    without_variables(copy(base, 3))
    models = start()
    settle(models)
    assert answered_by(models) == 1


def test_a_model_whose_folder_goes_away_still_answers(
    base: Path, start: Callable[..., Models], caplog: pytest.LogCaptureFixture
) -> None:
    models = start()
    base.rename(base.with_name("elsewhere"))
    settle(models)
    assert answered_by(models) == 1
    assert len([r for r in caplog.records if "cannot be read" in r.getMessage()]) == 1


def test_policies_and_labels(base: Path, start: Callable[..., Models]) -> None:
    for number in (2, 3):
        copy(base, number)
    models = start(Source("toy", base, newest=2, labels={"stable": 2, "canary": 3}))
    assert models.served() == {"toy": [2, 3]}
    assert answered_by(models) == 3
    assert answered_by(models, label="stable") == 2
    models.replace([Source("toy", base, specific=frozenset({1}))])
    assert models.served() == {"toy": [1]}
    models.replace([Source("toy", base, newest=0)])
    assert models.served() == {"toy": [1, 2, 3]}
    models.replace([])
    with pytest.raises(StatusError, match="Servable not found"):
        models.get("toy")


def test_a_model_in_use_outlives_its_unloading(base: Path, start: Callable[..., Models]) -> None:
    models = start()
    model = models.get("toy")
    models.replace([])
    signature = model.signatures["serving_default"]
    assert len(model.run(signature, {"x": ROWS}, ("y",), 10)["y"]) == 3
    model.release()
    with pytest.raises(StatusError, match="unloaded"):
        model.hold()


def test_a_version_whose_own_requests_fail_is_not_served(
    base: Path, start: Callable[..., Models]
) -> None:
    import tensorflow as tf

    from moe_apps.serving.warm_up import write_warm_up

    folder = copy(base, 2, card=False)
    signatures = {"positive": {"inputs": {"x": {"dtype": "float32", "shape": [None, 2]}}}}
    assert write_warm_up(folder, "toy", signatures, {"x": -ROWS}) == 1
    models = start()
    settle(models)
    assert models.served() == {"toy": [1]}
    assert "x must be positive" in models.states("toy", 2)[2][2]
    assert tf.io.gfile.exists(str(folder / "assets.extra" / "tf_serving_warmup_requests"))


def test_state_numbers_are_those_of_the_protocol() -> None:
    from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

    for name in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END"):
        assert getattr(module, name) == getattr(ModelVersionStatus, name)
    assert AVAILABLE == ModelVersionStatus.AVAILABLE
