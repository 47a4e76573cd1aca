"""INTERACTION (and SinD, which has its columns): 10 Hz, metres, y upwards, headings in radians."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.readers.text_tables import read_csv
from moe_apps.pipelines.trajectory.readers.tidying import finish, vehicle_numbers
from moe_apps.pipelines.trajectory.tracks import Tracks

REQUIRED = ("track_id", "frame_id", "timestamp_ms", "agent_type", "x", "y")
OPTIONAL = ("vx", "vy", "psi_rad", "length", "width", "case_id")
KINDS = {"pedestrian/bicycle": "bicycle"}
TEXT = ("track_id", "agent_type")


def read(path: Path) -> Tracks:
    """Read a `vehicle_tracks_NNN.csv` or `pedestrian_tracks_NNN.csv`.

    The rate follows from the time stamps. Files that join many short cases in one, by `case_id`,
    become one recording a case.
    """
    rows, notes = read_csv(
        path, "INTERACTION", REQUIRED, OPTIONAL, aliases={"heading_rad": "psi_rad"}, text=TEXT
    )
    step = _step(rows)
    kind = rows["agent_type"].astype("str").str.strip().str.lower()
    columns = pd.DataFrame(
        {
            "recording": path.stem,
            "vehicle": vehicle_numbers(rows["track_id"]),
            "frame": (rows["timestamp_ms"] / step).round(),
            "x": rows["x"],
            "y": rows["y"],
            "kind": kind.replace(KINDS),
        }
    )
    if "case_id" in rows:
        case = rows["case_id"].fillna(0).astype(int).astype("str")
        columns["recording"] = path.stem + " case " + case
    for name in ("length", "width"):
        if name in rows:
            columns[name] = rows[name]
    if "psi_rad" in rows:
        columns["heading"] = rows["psi_rad"]
    if {"vx", "vy"} <= set(rows):
        columns["speed"] = np.hypot(rows["vx"], rows["vy"])
    return finish(columns, 1000 / step, path, notes, align=True)


def _step(rows: pd.DataFrame) -> float:
    """Milliseconds from frame to frame."""
    times = np.sort(rows["timestamp_ms"].dropna().unique())
    steps = np.diff(times)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 100.0
