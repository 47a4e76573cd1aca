"""Argoverse 2 motion forecasting: a Parquet file a scenario, 11 s at 10 Hz, metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.tidying import finish, vehicle_numbers
from moe_apps.pipelines.trajectory.tracks import Tracks

RATE = 10.0
REQUIRED = ("track_id", "object_type", "timestep", "position_x", "position_y", "heading")
OPTIONAL = ("velocity_x", "velocity_y", "scenario_id")
KINDS = {
    "vehicle": "car",
    "bus": "bus",
    "motorcyclist": "motorcycle",
    "cyclist": "bicycle",
    "pedestrian": "pedestrian",
}


def read(path: Path) -> Tracks:
    """Read a `scenario_*.parquet`; what is no road user is left out.

    Raises `DataError` for a file that is no Parquet or lacks a column.
    """
    rows = read_parquet(path)
    missing = [name for name in REQUIRED if name not in rows]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}, which Argoverse 2 tracks have; found "
            f"{', '.join(map(str, rows.columns[:12]))}"
        )
    users = rows["object_type"].isin(list(KINDS))
    notes = []
    if (~users).any():
        others = rows[~users].drop_duplicates("track_id")["object_type"].value_counts()
        listed = ", ".join(f"{count} {name}" for name, count in others.items())
        notes.append(f"{path.name}: tracks left out, they are no road users: {listed}")
    rows = rows[users]
    name = str(rows["scenario_id"].iloc[0]) if "scenario_id" in rows and len(rows) else path.stem
    columns = pd.DataFrame(
        {
            "recording": name,
            "vehicle": vehicle_numbers(rows["track_id"]),
            "frame": rows["timestep"],
            "x": rows["position_x"],
            "y": rows["position_y"],
            "heading": rows["heading"],
            "kind": rows["object_type"].map(KINDS),
        }
    )
    if {"velocity_x", "velocity_y"} <= set(rows):
        columns["speed"] = np.hypot(rows["velocity_x"], rows["velocity_y"])
    return finish(columns, RATE, path, notes, align=True)


def read_parquet(path: Path) -> pd.DataFrame:
    """Return the table of a Parquet file; raises `DataError` for a file that is none."""
    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: is no Parquet that can be read: {reason}") from None
