"""A study: pruned, interrupted, gone on with, and never a look at the test part."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from pydantic import Field
from typer.testing import CliRunner, Result

from moe_apps import api
from moe_apps.cli import app
from moe_apps.errors import ConfigError, DataError, RunError
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking import Tracker
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.pipelines.training import OnEpoch, TrainingResult
from moe_apps.registry import DOMAINS
from toy_domain import Toy, ToyConfig, ToyTrain


class TuningTrain(ToyTrain):
    rate: float = Field(default=0.5, gt=0)
    depth: int = Field(default=2, le=4)


class TuningConfig(ToyConfig):
    train: TuningTrain = TuningTrain()


class Tunable(Toy):
    """Its value is the distance of `rate` from 0.3, reached over four epochs.

    `happens` is called with the number of the training, from 1, before it begins.
    """

    name = "tunable"
    config_class = TuningConfig
    monitor = "val_mae"
    search_space: ClassVar = {
        "train.rate": {"low": 0.01, "high": 1.0, "log": True},
        "train.depth": [1, 2],
    }

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.happens: Callable[[int], None] = lambda number: None

    def train(self, config: Any, run: RunFolder, resume: bool) -> dict[str, Any]:
        raise AssertionError("a trial trains the model alone")

    def train_only(self, config: TuningConfig, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
        rate = config.train.rate
        self.rates.append(rate)
        self.happens(len(self.rates))
        rows = []
        for epoch in range(1, 5):
            row = {"epoch": epoch, "loss": 1.0, "val_mae": abs(rate - 0.3) + 1 / epoch}
            rows.append(row)
            on_epoch(epoch, row)
        return TrainingResult(4, 4, row["val_mae"], "val_mae", 1.0, 0.1, tuple(rows))


@pytest.fixture
def domain(store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tunable:
    made = Tunable()
    monkeypatch.chdir(tempfile.mkdtemp(dir=store_folder))  # a study is a database too
    monkeypatch.setitem(DOMAINS._entries, "tunable", made)
    monkeypatch.setattr(api, "_loaded_backend", lambda: "tensorflow")
    return made


@pytest.fixture
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, for tests that do not look there: a store takes its time."""
    monkeypatch.setattr(Tracker, "_flush", lambda self: None)


def command(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["tune", "tunable", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def test_the_best_settings_are_found_and_kept(domain: Tunable, tracking_store: str) -> None:
    found = json.loads(command("--trials", 8, "--output", "study", "--seed", 1, "--json").stdout)
    states = [row["state"] for row in found["trials"]]
    assert len(states) == 8 and set(states) == {"complete", "pruned"}
    assert all(2 <= row["epochs"] < 4 for row in found["trials"] if row["state"] == "pruned")
    complete = [row for row in found["trials"] if row["state"] == "complete"]
    assert found["best"]["value"] == min(row["value"] for row in complete)
    best = yaml.safe_load(Path("study/best.yaml").read_text())
    assert best["train"]["rate"] == found["best"]["settings"]["train.rate"] and best["seed"] == 1
    assert api.DOMAINS.get("tunable").config_class.model_validate(best)

    client = quiet_client(tracking_store)
    whole = client.get_run(RunFolder(Path("study")).read_details()["mlflow_run"])
    assert whole.data.tags["kind"] == "tuning" and whole.info.status == "FINISHED"
    parts = client.search_runs(
        [whole.info.experiment_id], f"tags.`mlflow.parentRunId` = '{whole.info.run_id}'"
    )
    assert len(parts) == 8 and {part.info.status for part in parts} == {"FINISHED"}
    assert {part.data.tags["trial.state"] for part in parts} == {"complete", "pruned"}
    trial = RunFolder(Path("study/trials/0000"))
    first = client.get_run(trial.read_details()["mlflow_run"])
    assert first.data.params["train.rate"] == str(domain.rates[0])
    assert len(client.get_metric_history(first.info.run_id, "val_mae")) == 4
    synced = api.sync("study")["runs"]
    assert len(synced) == 9 and not any(row["sent"] for row in synced)


def interrupt(number: int) -> None:
    if number == 4:
        raise KeyboardInterrupt


def test_an_interrupted_trial_is_failed_and_run_again(
    domain: Tunable, without_mlflow: None
) -> None:
    domain.happens = interrupt
    done = command("--trials", 6, "--output", "study", code=130)
    assert done.stderr.splitlines()[-1] == (
        "moe-apps: interrupted; go on by: moe-apps tune tunable --resume study"
    )
    assert RunFolder(Path("study")).read_details()["status"] == "interrupted"
    found = json.loads(command("--resume", "study", "--json").stdout)
    assert [row["state"] for row in found["trials"]][3] == "fail"
    counted = [row for row in found["trials"] if row["state"] != "fail"]
    assert len(found["trials"]) == 7 and len(counted) == 6
    # The same settings once more, and no others twice: the study does not begin again.
    assert domain.rates[4] == domain.rates[3]
    assert len(set(domain.rates)) == 6
    shown = command("--resume", "study", "--trials", 7).stdout
    assert "interrupted" in shown and "moe-apps train tunable --config study/best.yaml" in shown
    assert len(domain.rates) == 8


def test_a_trial_of_a_killed_process_is_run_again(domain: Tunable, without_mlflow: None) -> None:
    import optuna

    command("--trials", 2, "--output", "study")
    study = optuna.load_study(study_name="tunable", storage="sqlite:///study/study.db")
    lost = study.ask()
    rate = lost.suggest_float("train.rate", 0.01, 1.0, log=True)
    lost.suggest_categorical("train.depth", [1, 2])
    found = json.loads(command("--resume", "study", "--trials", 3, "--json").stdout)
    assert [row["state"] for row in found["trials"][2:]] == ["fail", "complete"]
    assert domain.rates[2] == rate


def test_settings_that_do_not_go_together_fail_their_trial_alone(
    domain: Tunable, without_mlflow: None
) -> None:
    Path("space.yaml").write_text("train.rate: [0.1, 0.2]\ntrain.depth: [1, 9]\n")
    given = ("--space", "space.yaml", "--trials", 8, "--output", "study")
    found = json.loads(command(*given, "--json").stdout)
    failed = [row for row in found["trials"] if row["state"] == "fail"]
    assert failed and len(found["trials"]) == 8
    assert "train.depth: " in failed[0]["reason"]
    # One that failed for a reason of its own is not run again.
    assert len(api.tune("tunable", resume="study")["trials"]) == 8
    Path("space.yaml").write_text("train.depth: [9]\n")
    with pytest.raises(ConfigError, match=r"no trial could be trained; the last one: train\.depth"):
        api.tune("tunable", space="space.yaml", trials=2, output="none")


def test_mistakes_leave_nothing_behind(domain: Tunable, without_mlflow: None) -> None:
    def bad_data(number: int) -> None:
        raise DataError("x.csv: row 2: no number")

    domain.happens = bad_data
    assert "x.csv: row 2: no number" in command("--output", "study", code=2).stderr
    assert not Path("study").exists()
    domain.happens = lambda number: None
    command("--trials", 1, "--output", "study")
    assert "exists already" in command("--output", "study", code=2).stderr
    assert "give no others" in command("--resume", "study", "--seed", 1, code=2).stderr
    with pytest.raises(RunError, match=r"is a tuning; go on by: moe-apps tune tunable --resume"):
        api.train("tunable", resume="study")
    RunFolder(Path("run")).start(TuningConfig(domain="tunable"))
    with pytest.raises(ConfigError, match="run: is no tuning of tunable"):
        api.tune("tunable", resume="run")


def test_one_process_works_on_a_study(domain: Tunable, without_mlflow: None) -> None:
    import fcntl

    command("--trials", 1, "--output", "study")
    with Path("study/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="study: another process works on this study"):
            api.tune("tunable", resume="study", trials=2)
