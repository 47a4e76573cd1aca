"""Drives recorded by GPS, with lane changes that a person annotated from the film.

The format of Driessen et al. 2022 (github.com/tomdries/gps-lane-changes): a fix a second, matched
to the line of the road, with the distance aside from it (`offset`, to the right), and beside it a
table of lane changes with the moment `t_lc` on the clock of the film, to which `t` belongs too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.text_tables import read_csv
from moe_apps.pipelines.trajectory.tracks import Tracks

RATE = 1.0
FARTHEST = 40.0
"""Metres from the line of the road beyond which a fix was matched wrongly."""
JUMP = 5.0
"""Metres aside within a second that no vehicle moves: the match went over to another road."""

Floats = npt.NDArray[np.float64]


def read_lane_changes(path: Path) -> pd.DataFrame:
    """Read annotated lane changes: `time` in seconds and `lanes` crossed, positive to the left.

    Changes annotated as aborted are no changes, and left out. Raises `DataError` naming a column
    that is missing or a direction that is none.
    """
    text = ("type", "direction")
    optional = ("from lane", "to lane", "type")
    rows, _ = read_csv(path, "annotation", ("t_lc", "direction"), optional, text=text)
    side = rows["direction"].astype("str").str.strip().str.lower().map({"left": 1, "right": -1})
    if side.isna().any():
        wrong = rows["direction"][side.isna()].iloc[0]
        raise DataError(f"{path}: direction {wrong!r}, expected left or right")
    lanes = pd.Series(1.0, index=rows.index)
    if {"from lane", "to lane"} <= set(rows):
        lanes = (rows["from lane"] - rows["to lane"]).abs().fillna(1.0)
    changes = pd.DataFrame({"time": rows["t_lc"], "lanes": (side * lanes).astype(int)})
    if "type" in rows:
        changes = changes[rows["type"].astype("str").str.strip().str.lower() != "aborted"]
    return changes.sort_values("time", ignore_index=True)


def read_trip(
    fixes: Path, annotations: Path, recording: str = "", stretch: float = 150.0
) -> Tracks:
    """Read one receiver's record of a drive, with lanes that follow from the annotations.

    Lanes are relative: the first is chosen so that none is negative. The drive is cut into
    stretches, each a vehicle of its own number, so that it can be split: where the record has a
    gap or jumps aside, and after `stretch` seconds. As position x serves the distance driven, as y
    the distance to the left of the line of the road.

    Args:
        fixes: CSV with `t` (s), `x_gps`, `y_gps` (m) and `offset` (m, to the right).
        annotations: CSV with `t_lc` (s) and `direction`.
        recording: name; by default that of the file.
        stretch: longest stretch in seconds.

    Raises:
        DataError: A column is missing, or no fix lies at the road.

    Example:
        >>> read_trip(Path("01 GPS S9.csv"), Path("trip 1.csv"), "trip 1")  # doctest: +SKIP
        Tracks(...)
    """
    rows, notes = read_csv(fixes, "GPS", ("t", "x_gps", "y_gps", "offset"))
    rows = rows.sort_values("t", ignore_index=True)
    wrong = ~(rows["offset"].abs() <= FARTHEST)
    if wrong.any():
        notes.append(
            f"{fixes.name}: {int(wrong.sum())} fixes dropped, more than {FARTHEST:g} m from the "
            "road"
        )
        rows = rows[~wrong].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"{fixes}: no fix lies within {FARTHEST:g} m of the road")
    time = rows["t"].to_numpy(np.float64)
    aside = -rows["offset"].to_numpy(np.float64)
    changes = read_lane_changes(annotations)
    within = changes["time"].between(time[0], time[-1])
    if (~within).any():
        notes.append(f"{fixes.name}: {int((~within).sum())} lane changes outside of the record")
    crossed = np.r_[0, np.cumsum(changes["lanes"])]
    lane = crossed[np.searchsorted(changes["time"], time, side="right")]
    vehicle = _stretches(time, aside, stretch)
    step = (rows["x_gps"].diff() ** 2 + rows["y_gps"].diff() ** 2).fillna(0.0) ** 0.5
    columns = pd.DataFrame(
        {
            "recording": recording or fixes.stem,
            "vehicle": vehicle,
            "frame": np.round((time - time[0]) * RATE).astype(int),
            "x": step.cumsum(),
            "y": aside,
            "lane": lane - lane.min(),
            "kind": "car",
        }
    )
    once = ~columns.duplicated(["vehicle", "frame"])
    return Tracks.of(columns[once], RATE, str(fixes), notes)


def _stretches(time: Floats, aside: Floats, longest: float) -> npt.NDArray[np.int64]:
    """Number `[n]` of the stretch of each fix."""
    new = np.diff(time, prepend=time[0]) * RATE > 1.5
    new |= np.abs(np.diff(aside, prepend=aside[0])) > JUMP
    part = np.cumsum(new)
    starts = time[np.searchsorted(part, part)]
    piece = part * 10_000 + ((time - starts) // longest).astype(int)
    return np.unique(piece, return_inverse=True)[1].astype(np.int64)
