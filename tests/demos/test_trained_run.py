from __future__ import annotations

import os
from pathlib import Path

import pytest

from moe_apps.demos.trained_run import TrainedRun
from moe_apps.errors import RunError
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder


def make(path: Path, domain: str = "forecasting", age: float = 0) -> RunFolder:
    run = RunFolder.create(domain, path)
    run.start(RunConfig(domain=domain))
    run.model_file.write_bytes(b"weights")
    changed = run.model_file.stat().st_mtime - age
    os.utime(run.model_file, (changed, changed))
    return run


def test_the_newest_run_of_the_domain_is_found_wherever_it_lies(tmp_path):
    make(tmp_path / "forecasting" / "old", age=60)
    new = make(tmp_path / "mine", age=30)
    make(tmp_path / "other", domain="acoustic")
    assert TrainedRun("forecasting", tmp_path).find().path == new.path
    assert TrainedRun("forecasting", tmp_path / "forecasting" / "old").find().path.name == "old"


def test_a_run_of_the_users_comes_before_the_small_one(tmp_path):
    source = TrainedRun("forecasting", tmp_path)
    small = make(source.small)
    assert source.find().path == small.path and source.is_small(source.find())
    own = make(tmp_path / "mine", age=60)
    assert source.get().path == own.path and not source.is_small(own)


def test_what_is_no_trained_run_is_passed_over(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    untrained = RunFolder.create("forecasting", tmp_path / "untrained")
    untrained.start(RunConfig(domain="forecasting"))
    assert TrainedRun("forecasting", tmp_path).find() is None


def test_a_training_that_fails_says_why(tmp_path):
    with pytest.raises(RunError, match=r"no small model of nosuch: .*nosuch"):
        TrainedRun("nosuch", tmp_path).get()
    assert not (tmp_path / "demo" / "nosuch").exists()
