"""From a reader's raw rows to `Tracks`: what is dropped, cut or doubted, each with a note."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.directions import along_the_road
from moe_apps.pipelines.trajectory.readers.units import unit_notes
from moe_apps.pipelines.trajectory.tracks import KEY, Tracks

FASTEST = 75.0
"""Metres a second (270 km/h) beyond which a vehicle did not move but another took its number."""


def finish(
    rows: pd.DataFrame,
    rate: float,
    path: Path,
    notes: Iterable[str] = (),
    lane_width: float | None = None,
    align: bool = False,
    lanes_either_way: bool = False,
) -> Tracks:
    """Return tracks of raw rows in metres.

    Rows without a position and second rows for one frame are dropped. A vehicle that jumps is cut
    in two. Speeds and lengths that no vehicle has are noted as doubtful units.

    Args:
        rows: columns as in `Tracks`, and optionally `speed` (m/s, as the file has it) and
            `heading` (radians from x towards y).
        rate: frames a second.
        path: the file, for messages.
        notes: the reader's own.
        lane_width: metres.
        align: whether to turn the rows so that x runs along the driving direction; a recording
            with several directions is split.
        lanes_either_way: as in `along_the_road`.

    Raises:
        DataError: No row is left.
    """
    notes = list(notes)
    rows = rows.reset_index(drop=True)
    if "recording" not in rows:
        rows = rows.assign(recording=path.stem)
    rows = _with_positions(rows, path, notes)
    rows = rows.astype({"vehicle": np.int64, "frame": np.int64})
    rows = _once(rows, path, notes)
    rows = rows.sort_values(KEY, kind="stable", ignore_index=True)
    doubts = unit_notes(rows, rate)
    notes += [f"{path.name}: {doubt}" for doubt in doubts]
    if not doubts:
        rows = _cut_at_jumps(rows, rate, path, notes)
    if align:
        rows, turned = along_the_road(rows, lanes_either_way)
        notes += [f"{path.name}: {note}" for note in turned]
    if rows.empty:
        raise DataError(f"{path}: no track is left: {'; '.join(notes)}")
    return Tracks.of(rows, rate, str(path), notes, lane_width)


def vehicle_numbers(names: pd.Series) -> pd.Series:
    """Return the numbers of vehicles: the names themselves where all are whole numbers.

    >>> vehicle_numbers(pd.Series(["P2", "P1", "P2"])).tolist()
    [0, 1, 0]
    >>> vehicle_numbers(pd.Series(["12", "7"])).tolist()
    [12, 7]
    """
    numbers = pd.to_numeric(names, errors="coerce")
    if numbers.notna().all() and (numbers == numbers.round()).all():
        return numbers.astype(np.int64)
    return pd.Series(pd.factorize(names)[0], index=names.index)


def _with_positions(rows: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    there = np.isfinite(rows[["vehicle", "frame", "x", "y"]].to_numpy(np.float64)).all(axis=1)
    missing = int((~there).sum())
    if missing:
        notes.append(f"{path.name}: {missing} rows dropped, they lack a position, vehicle or frame")
        rows = rows[there].reset_index(drop=True)
    if rows.empty:
        raise DataError(f"{path}: no row has a vehicle, a frame and a position")
    return rows


def _once(rows: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    twice = rows.duplicated(KEY)
    if twice.any():
        other = int(twice.sum() - rows.duplicated([*KEY, "x", "y"]).sum())
        at = rows[twice].iloc[0]
        apart = f", {other} of them at another place" if other else ""
        notes.append(
            f"{path.name}: {int(twice.sum())} rows dropped, their vehicle has that frame already "
            f"(first: vehicle {at.vehicle}, frame {at.frame}){apart}"
        )
        rows = rows[~twice].reset_index(drop=True)
    return rows


def _cut_at_jumps(rows: pd.DataFrame, rate: float, path: Path, notes: list[str]) -> pd.DataFrame:
    step = rows[["x", "y"]].diff()
    frames = rows["frame"].diff()
    same = (rows[KEY[:2]] == rows[KEY[:2]].shift()).all(axis=1)
    fast = np.hypot(step["x"], step["y"]) > FASTEST * frames.abs() / rate
    jumps = same & fast
    if not jumps.any():
        return rows
    cut = jumps.groupby([rows["recording"], rows["vehicle"]]).cumsum()
    parts = pd.factorize(pd.MultiIndex.from_arrays([rows["vehicle"], cut]))[0]
    first = rows[jumps].iloc[0]
    notes.append(
        f"{path.name}: tracks cut at {int(jumps.sum())} jumps of more than {FASTEST:g} m/s, and "
        f"vehicles numbered anew (first: vehicle {first.vehicle}, frame {first.frame})"
    )
    new = np.where(cut > 0, rows["vehicle"].max() + 1 + parts, rows["vehicle"])
    return rows.assign(vehicle=new).sort_values(KEY, kind="stable", ignore_index=True)
