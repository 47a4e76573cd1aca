"""Bad input, through `moe_apps.train` and `moe_apps.inspect`, and from a shell.

Errors are one line and leave no run folder behind; what can be mended is, with a note.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moe_apps
import track_files
from moe_apps.errors import UserError
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import windowed_data

SETTINGS = ("data.rate=5", "data.history=1", "data.horizon=2", "data.intention_window=1")


def _rows(seconds: float = 6.0) -> pd.DataFrame:
    return track_files.ngsim(track_files.road(seconds=seconds)).assign(Location="i-80")


def _missing_column(path: Path) -> Path:
    _rows().drop(columns="Local_Y").to_csv(path / "i-80.csv", index=False)
    return path / "i-80.csv"


def _empty_folder(path: Path) -> Path:
    return path


def _empty_file(path: Path) -> Path:
    (path / "i-80.csv").touch()
    return path / "i-80.csv"


def _too_short(path: Path) -> Path:
    _rows(seconds=2.5).to_csv(path / "i-80.csv", index=False)
    return path / "i-80.csv"


def _no_numbers(path: Path) -> Path:
    _rows().assign(Local_X="left").to_csv(path / "i-80.csv", index=False)
    return path / "i-80.csv"


def _nowhere(path: Path) -> Path:
    return path / "nowhere.csv"


ERRORS: list[tuple[Callable[[Path], Path], str]] = [
    (_missing_column, "no column 'Local_Y', which NGSIM tracks have; found Vehicle_ID, Frame_ID"),
    (_empty_folder, "no file of tracks in it (looked for .csv, .txt"),
    (_empty_file, "is empty, expected a table of tracks"),
    (_no_numbers, "rows hold no numbers, first row 1, column 'Local_X': 'left'"),
    (_nowhere, "no such file or folder"),
    (_too_short, "the longest track without a gap has 2.4 s: lower data.history or data.horizon"),
]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ngsim", "lower data.history or data.horizon"),  # read, and too short
        ("highd", "i-80.csv: no column 'frame', which highD tracks have; found Vehicle_ID"),
        ("nosuch", "data.format: should be 'auto', 'ngsim', 'highd'"),
    ],
)
def test_a_format_that_is_named_is_the_one_that_is_read(
    name: str, message: str, tmp_path: Path
) -> None:
    _rows().to_csv(tmp_path / "i-80.csv", index=False)
    with pytest.raises(UserError) as caught:
        moe_apps.train(
            "trajectory",
            data=tmp_path / "i-80.csv",
            format=name,
            set=["data.horizon=30"],
            output=tmp_path / "run",
        )
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("make", "message"), ERRORS)
def test_errors_of_train(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = make(folder)
    with pytest.raises(UserError) as caught:
        moe_apps.train("trajectory", data=path, set=SETTINGS, output=tmp_path / "run")
    assert str(path) in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("make", "message"), ERRORS[:-1])
def test_errors_of_inspect(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        moe_apps.inspect("trajectory", path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def _mixed_units(rows: pd.DataFrame) -> pd.DataFrame:
    metres = rows["Vehicle_ID"] > 3
    rows.loc[metres, ["Local_X", "Local_Y"]] *= track_files.FOOT
    return rows


def _doubled(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, rows.iloc[:7]])


def _thousands(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(Local_Y=[f"{1000 + value:,.2f}" for value in rows["Local_Y"]])


def _one_lane(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(Lane_ID=2)


def _as_they_are(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


MENDED: list[tuple[Callable[[pd.DataFrame], pd.DataFrame], bool, str, str]] = [
    (_mixed_units, False, "3 of 6 vehicles move 0.30 times as fast", "units are mixed"),
    (_doubled, False, "7 rows dropped, their vehicle has that frame already", "frame 13"),
    (_thousands, True, "1 NUL bytes left out", ""),
    (_one_lane, False, "no lane change", "one lane only"),
]


def _written(path: Path, rows: pd.DataFrame, nul: bool) -> Path:
    rows.to_csv(path, index=False)
    if nul:
        text = path.read_bytes()
        path.write_bytes(text[:500] + b"\0" + text[500:])
    return path


@pytest.mark.parametrize(("change", "nul", "note", "more"), MENDED)
def test_what_is_mended_is_said(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    nul: bool,
    note: str,
    more: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = _written(tmp_path / "i-80.csv", change(_rows(seconds=9.0)), nul)
    settings: dict[str, Any] = {"path": str(path), "rate": 5, "history": 1, "horizon": 2}
    config = TrajectoryConfig.model_validate({"data": settings | {"intention_window": 1}})
    with caplog.at_level(logging.WARNING):
        data = windowed_data(config)
    said = "\n".join(data.facts["notes"])
    assert note in said
    assert ("units are mixed" in caplog.text) == (change is _mixed_units)
    facts = moe_apps.inspect("trajectory", path)
    assert any(note in line or (more and more in line) for line in facts["notes"])
    if change in (_doubled, _thousands):
        plain = _written(tmp_path / "plain.csv", _rows(seconds=9.0), nul=False)
        same = windowed_data(config, plain)
        np.testing.assert_allclose(data.train.future, same.train.future, atol=0.01)


@pytest.mark.slow  # processes of their own load TensorFlow
def test_from_a_shell(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    path = _missing_column(data)
    mixed = _written(data / "mixed.csv", _mixed_units(_rows()), nul=True)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "moe_apps", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    done = run("train", "trajectory", "--data", path, "--output", "run")
    assert done.returncode == 2 and done.stdout == "" and not (tmp_path / "run").exists()
    # TensorFlow may have said something of its own before.
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"moe-apps: error: {path}: no column 'Local_Y'")
    assert "Traceback" not in done.stderr
    done = run("inspect", "trajectory", mixed)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "units are mixed" in shown and "1 NUL bytes left out" in shown
