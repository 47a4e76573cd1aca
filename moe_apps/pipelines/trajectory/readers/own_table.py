"""A CSV or Parquet file with the columns of `Tracks` itself, for data of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.argoverse2 import read_parquet
from moe_apps.pipelines.trajectory.readers.text_tables import read_csv
from moe_apps.pipelines.trajectory.readers.tidying import finish, vehicle_numbers
from moe_apps.pipelines.trajectory.tracks import COLUMNS, Tracks

REQUIRED = ("vehicle", "time", "x", "y")
OPTIONAL = tuple(name for name in COLUMNS if name not in (*REQUIRED, "frame"))
TEXT = ("recording", "vehicle", "kind")


def read(path: Path) -> Tracks:
    """Read tracks in metres and seconds, x along the driving direction, y to the left.

    Columns `vehicle`, `time` (s), `x` and `y`; `recording`, `lane` (from the right, -1 unknown),
    `length`, `width` and `kind` if known. The rate follows from the times.

    Raises `DataError` for a missing column, or times that have no common step.
    """
    if path.suffix.lower() == ".csv":
        rows, notes = read_csv(path, "own", REQUIRED, OPTIONAL, text=TEXT)
    else:
        rows, notes = read_parquet(path), []
        missing = [name for name in REQUIRED if name not in rows]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}; found {', '.join(rows.columns)}")
    rows = rows[[name for name in (*REQUIRED, *OPTIONAL) if name in rows]]
    rows = rows.assign(vehicle=vehicle_numbers(rows["vehicle"]))
    step = _step(rows)
    frame = rows["time"] / step
    off = (frame - frame.round()).abs() > 0.1
    if off.mean() > 0.01:
        at = rows[off].iloc[0]
        raise DataError(
            f"{path}: vehicle {at['vehicle']} at {at['time']:g} s is between two steps of "
            f"{step:g} s, expected times at a steady rate"
        )
    for name in ("lane",):
        if name in rows:
            rows = rows.assign(lane=rows["lane"].fillna(-1).astype(int))
    return finish(rows.assign(frame=frame.round()), round(1 / step, 6), path, notes)


def _step(rows: pd.DataFrame) -> float:
    """Seconds from row to row of a vehicle, at most places."""
    times = rows.sort_values(["vehicle", "time"])
    steps = times.groupby("vehicle")["time"].diff()
    steps = steps[steps > 1e-6]
    return float(np.median(steps)) if len(steps) else 0.1
