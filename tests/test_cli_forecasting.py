"""The forecasting domain from a shell: exit codes, one-line errors, JSON as the last line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from moe_apps.cli import app

COMMAND = [sys.executable, "-m", "moe_apps"]
SMALL = ["data.look_back=24", "data.horizon=12", "model.num_layers=1", "model.hidden_dim=8"]
SHORT = ["train.epochs=1", "train.steps_per_epoch=2", "train.batch_size=4", "evaluation.stride=24"]


def accepted(*arguments: object) -> str:
    """What a command prints that does its work."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = np.arange(300)
    frame = pd.DataFrame(
        {"time": pd.date_range("2024-01-01", periods=300, freq="h"), "x": np.sin(rows / 4.0)}
    )
    frame.to_csv(tmp_path / "x.csv", index=False)
    return tmp_path / "x.csv"


def test_from_a_file_to_forecasts(table, tmp_path, monkeypatch):
    chosen = (*SMALL, *SHORT, "evaluation.dense_twin=false")
    settings = [part for one in chosen for part in ("--set", one)]
    monkeypatch.chdir(tmp_path)
    known = ("--data", table, "--output", "run", "--json")
    shown = accepted("train", "forecasting", *known, *settings)
    result = json.loads(shown.splitlines()[-1])
    assert result["paths"]["run"] == "run" and result["test"]["mse"] > 0
    accepted("predict", "run", "--input", table, "--output", "next.csv")
    assert len(pd.read_csv(tmp_path / "next.csv")) == 12
    shown = accepted("backtest", "run", "--cutoffs", "2", "--output", "past.csv")
    assert "seasonal_naive" in shown and "MASE by cut-off" in shown
    assert len(pd.read_csv(tmp_path / "past.csv")) == 24
    facts = json.loads(accepted("inspect", "forecasting", table, "--json"))
    assert (facts["time_step"], facts["usual_season"]) == ("h", 24)
    assert facts["each"][0]["rows"] == 300 and facts["each"][0]["filled"] == 0
    accepted("export", "run", "--to", "served")
    assert (tmp_path / "served" / "forecasting" / "1" / "saved_model.pb").is_file()


def test_a_mistake_in_a_shell_is_one_line_and_exit_code_2(table, tmp_path):
    done = subprocess.run(
        [*COMMAND, "train", "forecasting", "--data", "x.csv", "--set", "data.horizon=0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("moe-apps: error:")]
    assert len(lines) == 1 and "data.horizon" in lines[0]
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def refused(*arguments: object) -> str:
    """The one line by which a command is refused."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("moe-apps: error: ")]
    assert len(lines) == 1 and "Traceback" not in result.output and result.stdout == ""
    return lines[0].removeprefix("moe-apps: error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "forecasting", "--data", "none.csv"], "none.csv"),
        (["train", "forecasting", "--data", "x.csv", "--set", "model.depth=1"], "model.depth"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", ".", "--input", "x.csv", "--output", "y.csv"], "not a run"),
    ],
)
def test_a_mistake_leaves_nothing_behind(arguments, message, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def hours(count: int, step: int = 1, offset: str = "") -> list[str]:
    times = pd.date_range("2024-01-01", periods=count, freq=f"{step}h")
    return [f"{time:%Y-%m-%d %H:%M}{offset}" for time in times]


MIXED: dict[str, tuple[list[str], str]] = {
    "frequencies": (
        [*(f"a,{t},1" for t in hours(60)), *(f"b,{t},1" for t in hours(20, 24))],
        "row 62, b: no two rows are one step of h apart, the most common in the file",
    ),
    "finer step": (
        [*(f"a,{t},1" for t in hours(60)), "b,2024-01-01 00:00,1", "b,2024-01-01 00:15,1"],
        "row 63, time stamp 2024-01-01 00:15:00 is off the regular grid of step h",
    ),
    "time zones": (
        [
            *(f"a,{t},1" for t in hours(30, offset="+01:00")),
            *(f"b,{t},1" for t in hours(30, offset="-05:00")),
        ],
        "row 32, column 'when': time zones are mixed, one moment stands as "
        "'2024-01-01 00:00-05:00' and, in row 8, as '2024-01-01 06:00+01:00'",
    ),
    "zone on some rows": (
        [*(f"a,{t},1" for t in hours(30, offset="Z")), *(f"b,{t},1" for t in hours(30))],
        "row 32, column 'when': '2024-01-01 00:00' has no time zone, '2024-01-01 00:00Z' has one",
    ),
    "ids": (
        [f"a,{t},{value}" for value in (1, 2) for t in hours(30)],
        "row 32, time stamp 2024-01-01 00:00:00 of a has other values than in row 2",
    ),
    "no id on a row": (
        [*(f"a,{t},1" for t in hours(30)), f",{hours(31)[-1]},1"],
        "row 32, blank in id column (id)",
    ),
}


@pytest.mark.parametrize("kind", MIXED)
def test_what_is_mixed_in_a_file_is_one_line_with_its_row(kind, tmp_path):
    rows, message = MIXED[kind]
    path = tmp_path / "mixed.csv"
    path.write_text("\n".join(["id,when,load", *rows]) + "\n")
    command = ("train", "forecasting", "--data", path, "--output", tmp_path / "run")
    found = refused(*command, "--set", "data.look_back=8", "--set", "data.horizon=2")
    assert found.startswith(f"{path}: ") and message in found
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def with_price(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """A run that knows a price beforehand, and its file."""
    folder = tmp_path_factory.mktemp("priced")
    frame = pd.DataFrame(
        {"when": hours(240), "load": np.arange(240) % 24.0, "price": np.arange(240) % 5.0}
    )
    frame.to_csv(folder / "priced.csv", index=False)
    settings = ["data.look_back=24", "data.horizon=6", "data.known_columns=[price]"]
    settings += ["model.name=linear_moe", *SHORT, "evaluation.dense_twin=false"]
    chosen = [part for one in settings for part in ("--set", one)]
    command = ("train", "forecasting", "--data", folder / "priced.csv", "--output", folder / "run")
    result = CliRunner().invoke(app, [*map(str, command), *chosen])
    assert result.exit_code == 0, result.output
    return folder / "run", frame


def ahead(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    later = pd.DataFrame({"when": hours(240 + rows)[240:], "price": 1.0})
    return pd.concat([frame, later])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame, "series 'load': price end at 2024-01-10 23:00:00, the forecast"),
        (lambda frame: ahead(frame, 4), "needs them up to 2024-01-11 05:00:00; add rows with"),
        (
            lambda frame: ahead(frame, 6).assign(price=[*frame["price"], 1, 1, None, 1, 1, 1]),
            "a covariate is blank in rows after the last value, where it is to be known",
        ),
        (lambda frame: frame.drop(columns="price"), "no covariate column 'price', found"),
    ],
    ids=["none", "too few", "a blank", "no column"],
)
def test_covariates_that_are_missing_in_the_horizon_are_named(
    change, message, with_price, tmp_path
):
    run, frame = with_price
    change(frame).to_csv(tmp_path / "next.csv", index=False)
    output = tmp_path / "out.csv"
    assert message in refused("predict", run, "--input", tmp_path / "next.csv", "--output", output)
    assert not output.exists()
