"""The table of tracks that every reader, the simulator and the pipeline pass on.

One row a vehicle and frame, in metres and seconds, in the frame of the road: x along the driving
direction, y to the left of it. Rows are sorted by recording, vehicle and frame, so that a window of
a vehicle is a slice of rows; where frames are missing the vehicle has several *pieces*, and a
window lies in one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import DataError

COLUMNS: Mapping[str, type] = {
    "recording": str,
    "vehicle": np.int64,
    "frame": np.int64,
    "time": np.float64,
    "x": np.float64,
    "y": np.float64,
    "lane": np.int64,
    "length": np.float64,
    "width": np.float64,
    "kind": str,
}
KEY = ["recording", "vehicle", "frame"]
UNKNOWN_LANE = -1

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tracks:
    """Tracks of vehicles (or pedestrians) at one rate.

    Attributes:
        table: one row a vehicle and frame, sorted by `recording`, `vehicle`, `frame`:

            - `recording`: name of the recording and carriageway; vehicles of one recording share
              a frame of reference and meet each other.
            - `vehicle`: number, unique in its recording.
            - `frame`: number; consecutive frames are `1 / rate` seconds apart.
            - `time`: seconds, `frame / rate`.
            - `x`, `y`: centre of the vehicle in metres; x grows along the driving direction, y to
              the left.
            - `lane`: counted from the right from 0, so that a change to the left adds one; -1
              unknown.
            - `length`, `width`: metres, NaN unknown.
            - `kind`: `car`, `truck`, `motorcycle`, `bus`, `pedestrian`, `bicycle`, or `unknown`.
        rate: frames a second.
        source: where they are from, for people.
        notes: one sentence each on what was dropped or changed, and why.
        lane_width: metres, None unknown.

    Example:
        >>> tracks = Tracks.of({"vehicle": [7, 7], "frame": [0, 1], "x": [0.0, 3.0]}, rate=10)
        >>> tracks.table[["vehicle", "time", "x", "y", "lane"]].values.tolist()
        [[7.0, 0.0, 0.0, 0.0, -1.0], [7.0, 0.1, 3.0, 0.0, -1.0]]
    """

    table: pd.DataFrame
    rate: float
    source: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)
    lane_width: float | None = None

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Any] | pd.DataFrame,
        rate: float,
        source: str = "",
        notes: Iterable[str] = (),
        lane_width: float | None = None,
    ) -> Tracks:
        """Make tracks of columns, filling in those that are unknown, sorted and checked.

        Args:
            columns: at least `vehicle`, `frame` and `x`; `time` follows from `frame`.
            rate: frames a second.
            source: where they are from; begins the message of an error.
            notes: what was dropped or changed.
            lane_width: metres.

        Raises:
            DataError: A row that cannot be used: not finite, or twice the same frame.
        """
        table = pd.DataFrame(columns)
        unknown: dict[str, Any] = {
            "recording": "",
            "y": 0.0,
            "lane": UNKNOWN_LANE,
            "length": np.nan,
            "width": np.nan,
            "kind": "unknown",
        }
        table = table.assign(**{name: unknown[name] for name in unknown if name not in table})
        table["time"] = table["frame"] / rate
        table = table[list(COLUMNS)].astype(dict(COLUMNS))
        table = table.sort_values(KEY, kind="stable", ignore_index=True)
        tracks = cls(table, float(rate), source, tuple(notes), lane_width)
        check(tracks)
        return tracks

    def __len__(self) -> int:
        return len(self.table)

    def with_notes(self, *notes: str) -> Tracks:
        """Return the same tracks with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def only(self, rows: npt.NDArray[np.bool_], *notes: str) -> Tracks:
        """Return the rows `[rows]` that are True, with more notes."""
        return replace(
            self,
            table=self.table[rows].reset_index(drop=True),
            notes=(*self.notes, *notes),
        )


def check(tracks: Tracks) -> None:
    """Raise `DataError` unless the table is what `Tracks` says; the message names the row."""
    table, source = tracks.table, tracks.source or "tracks"
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(f"{source}: no column {missing[0]!r}, expected {', '.join(COLUMNS)}")
    if not (np.isfinite(tracks.rate) and tracks.rate > 0):
        raise DataError(f"{source}: a rate of {tracks.rate} Hz, expected a positive number")
    if table.empty:
        raise DataError(f"{source}: no tracks in it")
    for column in ("x", "y"):
        bad = ~np.isfinite(table[column].to_numpy())
        if bad.any():
            raise DataError(f"{source}: {_named(table, bad)}: {column} is no finite number")
    keys = table[KEY]
    twice = keys.duplicated().to_numpy()
    if twice.any():
        raise DataError(f"{source}: {_named(table, twice)}: two rows for one frame")
    if not (table.index == np.arange(len(table))).all():
        raise DataError(f"{source}: rows are not numbered 0 to {len(table) - 1}")
    same_vehicle = ~_changes(table)[1:]
    runs = len(table) - int(same_vehicle.sum())
    backwards = same_vehicle & (np.diff(table["frame"].to_numpy()) <= 0)
    if backwards.any() or runs != len(table[KEY[:2]].drop_duplicates()):
        raise DataError(f"{source}: rows are not sorted by {', '.join(KEY)}")


def _named(table: pd.DataFrame, bad: npt.NDArray[np.bool_]) -> str:
    row = table.loc[bad.argmax()]
    place = f"recording {row.recording}, " if row.recording else ""
    return f"{place}vehicle {row.vehicle}, frame {row.frame}"


def vehicles(table: pd.DataFrame) -> Ints:
    """Return a number `[rows]` for each vehicle, 0, 1, ... in the order of the table.

    >>> vehicles(Tracks.of({"vehicle": [3, 3, 9], "frame": [0, 5, 0], "x": 0.0}, 10).table).tolist()
    [0, 0, 1]
    """
    return _runs(_changes(table))


def pieces(table: pd.DataFrame) -> Ints:
    """Return a number `[rows]` for each piece: a vehicle's rows without a missing frame.

    A window that begins and ends in one piece has no gap in it.

    >>> pieces(Tracks.of({"vehicle": [3, 3, 9], "frame": [0, 5, 0], "x": 0.0}, 10).table).tolist()
    [0, 1, 2]
    """
    gap = np.diff(table["frame"].to_numpy(), prepend=0) != 1
    return _runs(_changes(table) | gap)


def _changes(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    recording = pd.factorize(table["recording"])[0]
    vehicle = table["vehicle"].to_numpy()
    starts = np.ones(len(table), bool)
    starts[1:] = (recording[1:] != recording[:-1]) | (vehicle[1:] != vehicle[:-1])
    return starts


def _runs(starts: npt.NDArray[np.bool_]) -> Ints:
    return np.cumsum(starts) - 1


def concatenate(parts: Sequence[Tracks], source: str = "") -> Tracks:
    """Join tracks of one rate; equal names of recordings are told apart by a number.

    Raises `DataError` when the rates differ.

    >>> part = Tracks.of({"recording": "a", "vehicle": [1], "frame": [0], "x": 0.0}, rate=10)
    >>> concatenate([part, part]).table["recording"].tolist()
    ['a', 'a (2)']
    """
    if not parts:
        raise DataError(f"{source or 'tracks'}: no tracks in it")
    rates = sorted({part.rate for part in parts})
    if len(rates) > 1:
        found = " and ".join(f"{rate:g}" for rate in rates)
        raise DataError(f"{source or 'tracks'}: tracks at {found} Hz, resample them to one rate")
    seen: dict[str, int] = {}
    tables = []
    for part in parts:
        names = {}
        for name in part.table["recording"].unique():
            seen[name] = seen.get(name, 0) + 1
            names[name] = name if seen[name] == 1 else f"{name} ({seen[name]})"
        tables.append(part.table.assign(recording=part.table["recording"].map(names)))
    widths = [part.lane_width for part in parts if part.lane_width is not None]
    return Tracks.of(
        pd.concat(tables, ignore_index=True),
        rates[0],
        source or parts[0].source,
        dict.fromkeys(note for part in parts for note in part.notes),
        float(np.median(widths)) if widths else None,
    )
