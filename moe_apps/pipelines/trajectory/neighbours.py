"""Who drives around a vehicle: the six places of the trajectory literature."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks

SLOTS = (
    "preceding",
    "following",
    "left_preceding",
    "left_following",
    "right_preceding",
    "right_following",
)
LANE_WIDTH = 3.5

Ints = npt.NDArray[np.int64]
_MILLIMETRES = 1000
# A lane of a frame gets a stretch of this many millimetres (8,500 km) in the sort key.
_STRETCH = 2**33


def neighbours(tracks: Tracks, reach: float = 100.0) -> Ints:
    """Return the row of each vehicle's neighbour in each of six places, at the same frame.

    Same lane, left and right lane, each the nearest ahead (preceding; a vehicle level with this
    one counts as ahead) and the nearest behind (following). Where a vehicle's lane is unknown, the
    lane of another is told by how far it is to the side: same within half a lane's width, left or
    right within one and a half.

    A neighbour's past is in the rows before its own, as long as `pieces` says it is one piece:
    `row - k` is `k` frames earlier.

    Args:
        tracks: `n` rows.
        reach: metres along the road beyond which there is no neighbour.

    Returns:
        `[n, 6]` rows of `tracks.table` in the order of `SLOTS`, -1 for none.

    Example:
        >>> lanes = {"vehicle": [1, 2, 3], "frame": 0, "x": [0.0, 20.0, -9.0], "lane": [0, 0, 1]}
        >>> neighbours(Tracks.of(lanes, rate=10))[0].tolist()
        [1, -1, -1, 2, -1, -1]
    """
    table = tracks.table
    lane = table["lane"].to_numpy()
    moment = _moments(table)
    found = np.full((len(table), len(SLOTS)), -1, np.int64)
    # A frame in which any lane is unknown is treated by offsets as a whole.
    doubtful = np.zeros(moment.max() + 1, bool)
    doubtful[moment[lane == UNKNOWN_LANE]] = True
    by_offset = doubtful[moment]
    rows = np.flatnonzero(~by_offset)
    if len(rows):
        found[rows] = _by_lane(table, moment, rows, reach)
    rows = np.flatnonzero(by_offset)
    if len(rows):
        found[rows] = _by_offset(table, moment, rows, reach, tracks.lane_width or LANE_WIDTH)
    return found


def _moments(table: pd.DataFrame) -> Ints:
    """Number `[n]` of each recording and frame."""
    recording = pd.factorize(table["recording"])[0].astype(np.int64)
    frame = table["frame"].to_numpy()
    frame = frame - frame.min()
    return np.unique(recording * (frame.max() + 1) + frame, return_inverse=True)[1]


def _by_lane(table: pd.DataFrame, moment: Ints, rows: Ints, reach: float) -> Ints:
    lane = table["lane"].to_numpy()[rows]
    lanes = lane.max() + 3
    x = np.round(table["x"].to_numpy()[rows] * _MILLIMETRES).astype(np.int64)
    x -= x.min()
    # One number orders all by moment, lane and place.
    lane_of_moment = np.unique(moment[rows], return_inverse=True)[1] * lanes + lane + 1
    key = lane_of_moment * _STRETCH + x
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    found = np.full((len(rows), len(SLOTS)), -1, np.int64)
    own = np.empty(len(rows), np.int64)
    own[order] = np.arange(len(rows))
    for column, step in enumerate((0, 1, -1)):
        if step:
            ahead = np.searchsorted(ordered, key + step * _STRETCH, side="left")
            behind = ahead - 1
        else:
            ahead, behind = own + 1, own - 1
        for side, place in enumerate((ahead, behind)):
            inside = (place >= 0) & (place < len(rows))
            other = order[np.clip(place, 0, len(rows) - 1)]
            same = lane_of_moment[other] == lane_of_moment + step
            near = np.abs(x[other] - x) <= reach * _MILLIMETRES
            found[:, 2 * column + side] = np.where(inside & same & near, rows[other], -1)
    return found


def _by_offset(
    table: pd.DataFrame, moment: Ints, rows: Ints, reach: float, lane_width: float
) -> Ints:
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    rows = rows[np.argsort(moment[rows], kind="stable")]
    size = np.bincount(np.unique(moment[rows], return_inverse=True)[1])
    first = np.repeat(np.cumsum(size) - size, size)
    others = np.repeat(size, size)
    found = np.full((len(rows), len(SLOTS)), -1, np.int64)
    # All pairs of a moment, so many rows at a time that they fit into memory.
    ends = np.searchsorted(np.cumsum(others), np.arange(2_000_000, others.sum(), 2_000_000))
    for part in np.split(np.arange(len(rows)), np.unique(ends)):
        me = np.repeat(part, others[part])
        within = np.arange(len(me)) - np.repeat(
            np.cumsum(others[part]) - others[part], others[part]
        )
        other = first[me] + within
        ahead = x[rows[other]] - x[rows[me]]
        aside = (y[rows[other]] - y[rows[me]]) / lane_width
        column = np.select(
            [np.abs(aside) < 0.5, (aside >= 0.5) & (aside < 1.5), (aside <= -0.5) & (aside > -1.5)],
            [0, 2, 4],
            -1,
        )
        near = (column >= 0) & (me != other) & (np.abs(ahead) <= reach)
        me, other, ahead = me[near], other[near], ahead[near]
        slot = column[near] + (ahead < 0)
        # The farthest are written first and the nearest last, over them.
        farthest = np.argsort(-np.abs(ahead), kind="stable")
        found[me[farthest], slot[farthest]] = rows[other[farthest]]
    return found[np.argsort(rows)]
