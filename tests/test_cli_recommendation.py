"""The recommendation domain from a shell: one-line errors, drafts, lists for users."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from moe_apps.cli import app
from moe_apps.pipelines.recommendation import learned

ROWS = 240
SMALL = [
    "train.epochs=1",
    "train.batch_size=64",
    "model.units=[8]",
    "model.num_experts=2",
    "model.tower_units=[4]",
    "evaluation.boosting=false",
    "evaluation.dense_twin=false",
    "data.test_fraction=0.2",
]
SETTINGS = [part for one in SMALL for part in ("--set", one)]
SCHEMA: dict[str, Any] = {
    "fields": [
        {"name": "user", "kind": "categorical", "group": "user"},
        {"name": "film", "kind": "categorical", "group": "item"},
        {"name": "age", "kind": "dense", "group": "user"},
    ],
    "tasks": [{"name": "like", "label": "like"}, {"name": "buy", "label": "buy"}],
    "user": "user",
    "item": "film",
}


def log() -> pd.DataFrame:
    random = np.random.default_rng(0)
    age = random.normal(40, 9, ROWS).round(1)
    return pd.DataFrame(
        {
            "user": [f"u{number}" for number in random.integers(0, 20, ROWS)],
            "film": [f"f{number}" for number in random.integers(0, 15, ROWS)],
            "age": age,
            "like": (random.random(ROWS) < 1 / (1 + np.exp((40 - age) / 5))).astype(int),
            "buy": random.integers(0, 2, ROWS),
        }
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    log().to_csv("log.csv", index=False)
    Path("schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    return tmp_path


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def train(*arguments: object, data: str = "log.csv", code: int = 0) -> Result:
    known = ("recommendation", "--data", data, "--schema", "schema.yaml", "--output", "run")
    return run("train", *known, *SETTINGS, *arguments, code=code)


def refused(data: str = "log.csv") -> str:
    """The one line that a training is refused with; nothing may be left behind."""
    result = train(data=data, code=2)
    lines = [line for line in result.stderr.splitlines() if line.startswith("moe-apps: error: ")]
    assert result.stdout == "" and result.stderr.splitlines() == lines and len(lines) == 1
    assert not Path("run").exists()
    return lines[0].removeprefix("moe-apps: error: ")


def changed(**columns: Any) -> None:
    log().assign(**columns).to_csv("log.csv", index=False)


def _texts_in_label() -> None:
    changed(like=["yes", *log()["like"][1:]])


def _constant_label() -> None:
    changed(like=1)


def _missing_column() -> None:
    log().rename(columns={"film": "movie"}).to_csv("log.csv", index=False)


def _duplicate_columns() -> None:
    frame = log()
    frame.insert(2, "film", "x", allow_duplicates=True)
    frame.to_csv("log.csv", index=False)


def _mixed_types() -> None:
    changed(age=["forty", *log()["age"][1:]])


def _no_header() -> None:
    log().to_csv("log.csv", index=False, header=False)


def _ragged() -> None:
    Path("log.csv").write_text("user,film,age,like,buy\nu1,f1,3,1,1\nu1,f1,3\n")


def _empty_file() -> None:
    Path("log.csv").write_text("")


def _no_rows() -> None:
    log().head(0).to_csv("log.csv", index=False)


def _label_as_field() -> None:
    fields = [*SCHEMA["fields"], {"name": "leak", "column": "like", "kind": "dense"}]
    Path("schema.yaml").write_text(yaml.safe_dump({**SCHEMA, "fields": fields}))


def _unknown_kind() -> None:
    Path("schema.yaml").write_text(
        yaml.safe_dump({**SCHEMA, "fields": [{"name": "a", "kind": "x"}]})
    )


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (_texts_in_label, "log.csv: row 2, column 'like': found 'yes', expected a number"),
        (_constant_label, "log.csv: task like: label `like` is 1 in all "),
        (_missing_column, "log.csv: the schema names column 'film', which is not there"),
        (_duplicate_columns, "log.csv: columns must differ, found twice: film"),
        (_mixed_types, "log.csv: row 2, column 'age': found 'forty', expected a number"),
        (_no_header, "log.csv: the schema names column 'user', which is not there"),
        (_ragged, "log.csv: cannot be read: CSV parse error: Row #3: Expected 5 columns, got 3"),
        (_empty_file, "log.csv: is empty"),
        (_no_rows, "log.csv: no rows in it"),
        (_label_as_field, "schema.yaml: settings: field leak: column like is the label of task"),
        (_unknown_kind, "schema.yaml: fields.0: "),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(harm: Callable[[], None], expected: str) -> None:
    harm()
    assert refused().startswith(expected)


def test_from_a_folder_by_a_draft_to_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty partition is left out, and a category of too many values hashed; both are said."""
    monkeypatch.setattr(learned, "MOST_VALUES", 10)
    monkeypatch.setattr(learned, "BUCKETS", 64)
    for day in (1, 2):
        Path(f"logs/day={day}").mkdir(parents=True)
    log().assign(copy=log()["like"]).to_csv("logs/day=1/a.csv", index=False)
    Path("logs/day=2/a.csv").touch()
    shown = run("inspect", "recommendation", "logs", "--draft", "draft.yaml").stdout
    assert "equals the label" in shown and Path("draft.yaml").read_text() in shown
    again = run("inspect", "recommendation", "logs", "--draft", "draft.yaml", code=2)
    assert "draft.yaml: is there already" in again.stderr
    Path("draft.yaml").rename("schema.yaml")
    metrics = json.loads(train("--json", data="logs").stdout.splitlines()[-1])
    assert [note.split(" for a ")[0] for note in metrics["data"]["notes"]] == [
        "left out: logs/day=2/a.csv: is empty",
        "field user has too many different values",
        "field film has too many different values",
    ]
    # 65 rows a table, however many values there are.
    assert metrics["parameters"]["total"] < 10_000
    result = run("predict", "run", "--input", "log.csv", "--output", "scores.csv")
    assert result.stdout == f"{ROWS} rows in scores.csv\n"
    assert {"like", "buy"} <= set(pd.read_csv("scores.csv"))


def test_a_folder_of_nothing_is_refused() -> None:
    Path("logs/day=1").mkdir(parents=True)
    assert refused("logs").startswith("logs: no data file in this folder")
    for part in "ab":
        Path(f"logs/day=1/{part}.csv").touch()
    assert refused("logs") == "logs/day=1/a.csv: is empty (and 1 more files that cannot be used)"


@pytest.mark.slow  # a process of its own loads TensorFlow
def test_on_the_real_command_line(folder: Path) -> None:
    _missing_column()
    known = ["--data", "log.csv", "--schema", "schema.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "moe_apps", "train", "recommendation", *known],
        capture_output=True,
        text=True,
        timeout=300,
    )
    # TensorFlow says on import that there is no GPU.
    lines = [line for line in done.stderr.splitlines() if line.startswith("moe-apps: error:")]
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1)
    assert "Traceback" not in done.stderr
    assert not Path("runs").exists()
