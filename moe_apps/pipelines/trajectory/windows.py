"""Cuts tracks into windows: what a model reads, and what comes after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.models.trajectory.features import UNKNOWN_OFFSET
from moe_apps.pipelines.trajectory import labels
from moe_apps.pipelines.trajectory.config import DataSettings
from moe_apps.pipelines.trajectory.neighbours import neighbours
from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks, pieces

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """Windows as arrays.

    Positions are metres from the ego vehicle's last position, x along the driving direction and y
    to the left.

    Attributes:
        inputs: what the model reads, by name, `[n, ...]` float32 (`site` int32); see
            `moe_apps.models.trajectory.features.TrackFeatures`.
        future: `[n, horizon, 2]` float32; zeros where windows were cut without a future.
        intention: `[n]`: 0 keep, 1 left, 2 right, -1 unknown.
        to_crossing: `[n]`: seconds to the next lane crossing, infinite for none.
        judged: `[n]`: whether the intention is judged: known, and no change is just ending.
        row: `[n]`: the last row of the history in the table of tracks.
    """

    inputs: dict[str, npt.NDArray[np.generic]]
    future: npt.NDArray[np.float32]
    intention: Ints
    to_crossing: Floats
    judged: Bools
    row: Ints

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: Ints) -> Windows:
        """Return the windows of these numbers."""
        inputs = {name: values[index] for name, values in self.inputs.items()}
        return Windows(
            inputs,
            self.future[index],
            self.intention[index],
            self.to_crossing[index],
            self.judged[index],
            self.row[index],
        )


class WindowCutter:
    """Finds the windows of tracks and cuts them.

    A neighbour is one at the last step of the history; its past is followed back as far as it was
    seen without a gap. Lane centres are the median `y` of all rows of a lane in its recording.

    Args:
        tracks: at the settings' rate.
        settings: lengths and labels.
        sites: known sites; see `ModelSettings.sites`.

    Example:
        >>> tracks = Tracks.of({"vehicle": 1, "frame": range(50), "x": np.arange(50.0)}, rate=5)
        >>> cutter = WindowCutter(tracks, DataSettings())
        >>> rows = cutter.rows()
        >>> len(rows), cutter.cut(rows).future[0, -1].tolist()  # 16 + 25 of 50 rows
        (10, [25.0, 0.0])
    """

    def __init__(self, tracks: Tracks, settings: DataSettings, sites: Sequence[str] = ()) -> None:
        self.tracks, self.settings = tracks, settings
        table = tracks.table
        self.piece = pieces(table)
        self.position: Floats = table[["x", "y"]].to_numpy()
        self.first: Ints = np.flatnonzero(np.diff(self.piece, prepend=-1))
        self.last: Ints = np.r_[self.first[1:], len(table)] - 1
        self.neighbour = neighbours(tracks)
        self.lane_offset, self.beside = _lanes(table)
        self.length = np.nan_to_num(table["length"].to_numpy(np.float32), nan=0.0)
        self.to_crossing = labels.time_to_crossing(tracks)[0]
        if settings.labels == "prediction":
            self.intention = labels.intentions(tracks, settings.intention_window)
            self.judged = (self.intention != labels.UNKNOWN) & ~labels.after_crossing(tracks)
        else:
            self.intention = labels.recognised(tracks, settings.intention_window)
            self.judged = self.intention != labels.UNKNOWN
        self.sites = {name: number for number, name in enumerate(sites, start=1)}
        names = table["recording"].astype(str)
        codes, unique = pd.factorize(names)
        self.site = np.array([self.sites.get(site_of(name), 0) for name in unique], np.int32)[codes]

    def rows(self, future: bool = True) -> Ints:
        """Last rows of the history of all windows, with a whole future after it if asked."""
        rows = np.arange(len(self.piece))
        history = self.settings.history_steps - 1
        horizon = self.settings.horizon_steps if future else 0
        fits = (rows - self.first[self.piece] >= history) & (
            self.last[self.piece] - rows >= horizon
        )
        return np.flatnonzero(fits)

    def strided(self, rows: Ints, seconds: float) -> Ints:
        """Of `rows`, those that lie a whole number of strides after their piece's first window."""
        stride = max(round(seconds * self.settings.rate), 1)
        since = rows - self.first[self.piece[rows]] - (self.settings.history_steps - 1)
        return rows[since % stride == 0]

    def ends(self) -> Ints:
        """The last row of each piece that has a whole history before it."""
        return np.intersect1d(self.last, self.rows(future=False))

    def cut(self, rows: Ints, future: bool = True) -> Windows:
        """Cut the windows whose history ends in these rows `[n]`."""
        settings = self.settings
        back = np.arange(1 - settings.history_steps, 1)
        past = rows[:, None] + back  # (n, history)
        origin = self.position[rows][:, None]
        beside = self.neighbour[rows]  # (n, 6)
        then = beside[:, None] + back[:, None]  # (n, history, 6)
        there = (beside >= 0)[:, None] & (then >= 0)
        then = np.where(there, then, 0)
        there &= self.piece[then] == self.piece[np.maximum(beside, 0)][:, None]
        others = np.where(there[..., None], self.position[then] - origin[:, None], 0.0)
        ahead = np.zeros((len(rows), settings.horizon_steps, 2))
        if future:
            after = rows[:, None] + np.arange(1, settings.horizon_steps + 1)
            ahead = self.position[after] - origin
        inputs = {
            "ego": (self.position[past] - origin).astype(np.float32),
            "neighbours": others.astype(np.float32),
            "present": there.astype(np.float32),
            "lane_offset": self.lane_offset[past],
            "lanes_beside": self.beside[past],
            "length": self.length[rows],
        }
        if self.sites:
            inputs["site"] = self.site[rows]
        return Windows(
            inputs,
            ahead.astype(np.float32),
            self.intention[rows],
            self.to_crossing[rows],
            self.judged[rows],
            rows,
        )


def site_of(recording: str) -> str:
    """Name of the site of a recording: what comes before the first "/".

    >>> site_of("us-101/0750-0805")
    'us-101'
    """
    return recording.partition("/")[0]


def lane_centres(table: pd.DataFrame) -> pd.Series:
    """Return the median `y` of each (recording, lane); unknown lanes are left out.

    >>> rows = {"vehicle": [1, 2], "frame": 0, "x": 0.0, "y": [1.5, 2.5], "lane": 0}
    >>> lane_centres(Tracks.of(rows, rate=5).table).tolist()
    [2.0]
    """
    known = table[table["lane"] != UNKNOWN_LANE]
    return known.groupby(["recording", "lane"], sort=True)["y"].median()


def _lanes(table: pd.DataFrame) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Metres left of the lane's centre `[n]`, and whether there are lanes beside `[n, 2]`."""
    recording = pd.factorize(table["recording"])[0]
    lane = table["lane"].to_numpy()
    width = lane.max() + 3
    key = recording * width + lane + 1  # 0 of each recording: unknown
    centre = np.full((recording.max() + 1) * width, np.nan)
    known = lane != UNKNOWN_LANE
    medians = pd.Series(table["y"].to_numpy()[known]).groupby(key[known]).median()
    centre[medians.index.to_numpy(np.int64)] = medians.to_numpy()
    offset = table["y"].to_numpy() - centre[key]
    offset = np.where(known, offset, UNKNOWN_OFFSET)
    exists = np.isfinite(centre)
    # The key of a rightmost lane minus 1 is that of unknown lanes, which have no centre.
    beside = np.stack([exists[np.minimum(key + 1, len(exists) - 1)], exists[key - 1]], axis=-1)
    beside &= known[:, None]
    return offset.astype(np.float32), beside.astype(np.float32)
