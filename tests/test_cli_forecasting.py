"""The forecasting domain from a shell: exit codes, one-line errors, JSON as the last line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

COMMAND = [sys.executable, "-m", "moe_apps"]
SMALL = ["data.look_back=24", "data.horizon=12", "model.num_layers=1", "model.hidden_dim=8"]
SHORT = ["train.epochs=1", "train.steps_per_epoch=2", "train.batch_size=4", "evaluation.stride=24"]


def moe_apps(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'runs.db'}"}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = np.arange(300)
    frame = pd.DataFrame(
        {"time": pd.date_range("2024-01-01", periods=300, freq="h"), "x": np.sin(rows / 4.0)}
    )
    frame.to_csv(tmp_path / "x.csv", index=False)
    return tmp_path / "x.csv"


def test_from_a_file_to_forecasts(table, tmp_path):
    chosen = (*SMALL, *SHORT, "evaluation.dense_twin=false")
    settings = [part for one in chosen for part in ("--set", one)]
    done = moe_apps(
        "train", "forecasting", "--data", table, "--output", "run", "--json", *settings,
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["paths"]["run"] == "run" and result["test"]["mse"] > 0
    done = moe_apps("predict", "run", "--input", table, "--output", "next.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "next.csv")) == 12
    done = moe_apps("backtest", "run", "--cutoffs", "2", "--output", "past.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seasonal_naive" in done.stdout and "MASE by cut-off" in done.stdout
    assert len(pd.read_csv(tmp_path / "past.csv")) == 24
    done = moe_apps("inspect", "forecasting", table, "--json", folder=tmp_path)
    facts = json.loads(done.stdout)
    assert (facts["time_step"], facts["usual_season"]) == ("h", 24)
    assert facts["each"][0]["rows"] == 300 and facts["each"][0]["filled"] == 0
    done = moe_apps("export", "run", "--to", "served", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "served" / "forecasting" / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "forecasting", "--data", "none.csv"], "none.csv"),
        (["train", "forecasting", "--data", "x.csv", "--set", "data.horizon=0"], "data.horizon"),
        (["train", "forecasting", "--data", "x.csv", "--set", "model.depth=1"], "model.depth"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", ".", "--input", "x.csv", "--output", "y.csv"], "not a run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, table, tmp_path):
    before = {file.name for file in tmp_path.iterdir()}
    done = moe_apps(*arguments, folder=tmp_path)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("moe-apps: error:")]
    assert len(lines) == 1 and message in lines[0]
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert {file.name for file in tmp_path.iterdir()} == before
