from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from moe_apps import __version__
from moe_apps.errors import RunError
from moe_apps.pipelines.atomic_files import plain, written_whole
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder

CONFIG = RunConfig(domain="toy", seed=7)


def started(path: Path) -> RunFolder:
    run = RunFolder.create("toy", path)
    run.start(CONFIG)
    return run


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_create_alone_touches_nothing(tmp_path: Path) -> None:
    RunFolder.create("toy", tmp_path / "deep" / "run")
    assert files(tmp_path) == []


def test_start_makes_the_folder(tmp_path: Path) -> None:
    run = started(tmp_path / "deep" / "run")
    assert files(run.path) == ["config.yaml", "run.json"]
    assert run.read_config(RunConfig) == CONFIG
    details = run.read_details()
    assert details.pop("created").startswith("20")
    assert details == {"domain": "toy", "moe_apps": __version__, "status": "running"}


def test_the_default_names_domain_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = RunFolder.create("toy")
    assert first.path.parent == Path("runs/toy")
    assert len(first.path.name) == len("20240131-235959")
    first.start(CONFIG)
    second = RunFolder.create("toy")
    assert second.path != first.path


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="exists already; name another folder or add --force"):
        RunFolder.create("toy", tmp_path)


def test_force_replaces_a_run_once_the_new_one_starts(tmp_path: Path) -> None:
    old = started(tmp_path / "run")
    old.model_file.write_text("old model")
    new = RunFolder.create("toy", old.path, force=True)
    assert old.model_file.read_text() == "old model", "nothing happens before start"
    new.start(RunConfig(domain="toy", seed=8))
    assert new.read_config(RunConfig).seed == 8
    assert files(tmp_path) == ["run"]
    assert files(new.path) == ["config.yaml", "run.json"]


def test_force_never_replaces_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not a run folder, so --force does not replace it"):
        RunFolder.create("toy", tmp_path, force=True)
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder.create("toy", tmp_path / "thesis.tex", force=True)


def test_force_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    RunFolder.create("toy", tmp_path / "run", force=True).start(CONFIG)
    assert files(tmp_path / "run") == ["config.yaml", "run.json"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run: cannot be made: File exists: .*file$"):
        RunFolder.create("toy", tmp_path / "file" / "run").start(CONFIG)


def test_open_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run folder: run\.json is missing"):
        RunFolder.open(tmp_path)
    run = started(tmp_path / "run")
    with pytest.raises(RunError, match=r"has no trained model yet \(status: running\)"):
        RunFolder.open(run.path)
    assert RunFolder.open(run.path, trained=False).path == run.path
    run.model_file.write_text("model")
    assert RunFolder.open(run.path).started
    run.config_file.unlink()
    with pytest.raises(RunError, match=r"config\.yaml is missing"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    run = started(tmp_path / "run")
    run.metrics_file.write_text(text)
    with pytest.raises(RunError, match=r"metrics\.json: "):
        run.read_metrics()


def test_metrics_are_plain_json(tmp_path: Path) -> None:
    run = started(tmp_path / "run")
    written = run.write_metrics(
        {"mse": np.float32(0.5), "mase": math.nan, "by_step": np.array([1.0, np.inf]), 3: Path("a")}
    )
    assert written == {"mse": 0.5, "mase": None, "by_step": [1.0, None], "3": "a"}
    assert json.loads(run.metrics_file.read_text()) == written == run.read_metrics()


def test_details_are_added_to(tmp_path: Path) -> None:
    run = started(tmp_path / "run")
    run.write_details(mlflow_run_id="abc", status="finished")
    details = run.read_details()
    assert details["domain"] == "toy"
    assert (details["mlflow_run_id"], details["status"]) == ("abc", "finished")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("half of the n")
        raise RuntimeError
    assert files(tmp_path) == ["figure.png"]
    assert path.read_text() == "old"


def test_what_cannot_be_json_becomes_text() -> None:
    assert plain({"a": {1: (True, None, Path("x"))}}) == {"a": {"1": [True, None, "x"]}}
