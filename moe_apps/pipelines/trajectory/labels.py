"""What a driver is about to do, from lane numbers: intention, time to crossing, braking."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks, pieces

KEEP, LEFT, RIGHT = 0, 1, 2
INTENTIONS = ("keep", "left", "right")
UNKNOWN = -1

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def crossings(tracks: Tracks, false_change: float = 1.0) -> Ints:
    """Return where vehicles cross into another lane.

    Args:
        tracks: `n` rows.
        false_change: seconds; a vehicle that is back in its lane within this time has not changed
            lanes.

    Returns:
        `[n]`: at the first row in the new lane 1 for a crossing to the left and -1 to the right;
        0 elsewhere.

    Example:
        >>> lanes = {"vehicle": 1, "frame": range(5), "x": 0.0, "lane": [1, 1, 2, 2, 2]}
        >>> crossings(Tracks.of(lanes, rate=2)).tolist()
        [0, 0, 1, 0, 0]
    """
    lane = steady_lanes(tracks, false_change)
    piece = pieces(tracks.table)
    known = (lane[1:] != UNKNOWN_LANE) & (lane[:-1] != UNKNOWN_LANE) & (piece[1:] == piece[:-1])
    moves = np.zeros(len(lane), np.int64)
    moves[1:] = np.where(known, np.sign(np.diff(lane)), 0)
    return moves


def steady_lanes(tracks: Tracks, false_change: float = 1.0) -> Ints:
    """Return lanes `[n]` without stays of at most `false_change` seconds that end where they began.

    >>> lanes = {"vehicle": 1, "frame": range(6), "x": 0.0, "lane": [1, 1, 2, 1, 1, 2]}
    >>> steady_lanes(Tracks.of(lanes, rate=2)).tolist()
    [1, 1, 1, 1, 1, 2]
    """
    lane = tracks.table["lane"].to_numpy().copy()
    piece = pieces(tracks.table)
    longest = false_change * tracks.rate + 1e-9
    while True:
        starts = np.flatnonzero(np.r_[True, (lane[1:] != lane[:-1]) | (piece[1:] != piece[:-1])])
        stay = np.diff(starts, append=len(lane))
        before, after = lane[starts][:-2], lane[starts][2:]
        same_piece = piece[starts][:-2] == piece[starts][2:]
        brief = np.zeros(len(starts), bool)
        brief[1:-1] = (before == after) & same_piece & (stay[1:-1] <= longest)
        # Of brief stays in a row only the first is undone; the rest is looked at again.
        undo = brief & ~np.r_[False, brief[:-1]]
        if not undo.any():
            return lane
        previous = np.r_[UNKNOWN_LANE, lane[starts][:-1]]
        lane = np.repeat(np.where(undo, previous, lane[starts]), stay)


def time_to_crossing(tracks: Tracks, false_change: float = 1.0) -> tuple[Floats, Ints]:
    """Return when and to which side a vehicle crosses next.

    Returns:
        Seconds `[n]` until the next crossing of the piece, infinite if there is none, and its side
        `[n]`: 1 left, -1 right, 0 none. At a crossing's own row both tell of the one after it.

    Example:
        >>> lanes = {"vehicle": 1, "frame": range(4), "x": 0.0, "lane": [1, 1, 0, 0]}
        >>> time, side = time_to_crossing(Tracks.of(lanes, rate=2))
        >>> time.tolist(), side.tolist()
        ([1.0, 0.5, inf, inf], [-1, -1, 0, 0])
    """
    moves = crossings(tracks, false_change)
    piece = pieces(tracks.table)
    rows = np.arange(len(moves))
    none = len(moves)
    here = np.where(moves != 0, rows, none)
    following = np.minimum.accumulate(np.r_[here, none][::-1])[::-1][1:]
    there = np.minimum(following, none - 1)
    exists = (following < none) & (piece[there] == piece)
    time = np.where(exists, (there - rows) / tracks.rate, np.inf)
    return time, np.where(exists, moves[there], 0)


def intentions(tracks: Tracks, window: float = 4.0, false_change: float = 1.0) -> Ints:
    """Return the intention at each row, for prediction: the side of the next crossing in time.

    Args:
        tracks: `n` rows.
        window: seconds; a crossing at `t` counts for rows from `t - window` to just before `t`.
        false_change: as in `crossings`.

    Returns:
        `[n]` of `KEEP`, `LEFT`, `RIGHT`; `UNKNOWN` (-1) where the track ends before the window with
        no crossing in it, or where a lane in the window is unknown.

    Example:
        >>> lanes = {"vehicle": 1, "frame": range(6), "x": 0.0, "lane": [1, 1, 2, 2, 2, 2]}
        >>> intentions(Tracks.of(lanes, rate=1), window=2.0).tolist()
        [1, 1, 0, 0, -1, -1]
    """
    time, side = time_to_crossing(tracks, false_change)
    piece = pieces(tracks.table)
    label = np.where(side > 0, LEFT, RIGHT)
    steps = round(window * tracks.rate)
    soon = time <= steps / tracks.rate + 1e-9
    reach = _reach(piece, steps)
    gone = np.r_[0, np.cumsum(tracks.table["lane"].to_numpy() == UNKNOWN_LANE)]
    rows = np.arange(len(piece))
    # Up to the crossing, or through the window where there is none.
    end = np.where(soon, rows + np.round(np.where(soon, time, 0) * tracks.rate), reach)
    unknown = gone[end.astype(np.int64) + 1] > gone[rows]
    keep = np.where(reach == rows + steps, KEEP, UNKNOWN)
    return np.where(unknown, UNKNOWN, np.where(soon, label, keep))


def recognised(tracks: Tracks, reach: float = 4.0) -> Ints:
    """Return the manoeuvre at each row for recognition, by convolutional social pooling's rule.

    A row belongs to a change to the right if the lane now differs to the right from that `reach`
    seconds before, or that `reach` seconds after from the one now, else to the left by the same
    rule; beyond its ends a track's first and last lane count. So a label covers the time before the
    crossing and after it. Source: Deo and Trivedi 2018, Convolutional Social Pooling for Vehicle
    Trajectory Prediction, arXiv 1805.06771, and its published preprocessing.

    Args:
        tracks: `n` rows.
        reach: seconds.

    Returns:
        `[n]` of `KEEP`, `LEFT`, `RIGHT`, or `UNKNOWN` where one of the three lanes is unknown.

    Example:
        >>> lanes = {"vehicle": 1, "frame": range(5), "x": 0.0, "lane": [1, 1, 2, 2, 2]}
        >>> recognised(Tracks.of(lanes, rate=1), reach=1.0).tolist()
        [0, 1, 1, 0, 0]
    """
    lane = tracks.table["lane"].to_numpy()
    piece = pieces(tracks.table)
    steps = round(reach * tracks.rate)
    before, after = lane[_reach(piece, -steps)], lane[_reach(piece, steps)]
    right = (after < lane) | (lane < before)
    left = (after > lane) | (lane > before)
    unknown = (np.stack([before, lane, after]) == UNKNOWN_LANE).any(axis=0)
    return np.select([unknown, right, left], [UNKNOWN, RIGHT, LEFT], KEEP)


def braking(tracks: Tracks, past: float = 3.0, future: float = 5.0, factor: float = 0.8) -> Bools:
    """Return rows `[n]` whose mean speed over the `future` seconds is below `factor` of the past's.

    The longitudinal manoeuvre of convolutional social pooling; at a track's ends the seconds that
    there are count.

    >>> slowing = {"vehicle": 1, "frame": range(5), "x": [0.0, 10.0, 20.0, 24.0, 28.0]}
    >>> braking(Tracks.of(slowing, rate=1), past=1.0, future=1.0).tolist()
    [False, False, True, False, False]
    """
    x = tracks.table["x"].to_numpy()
    piece = pieces(tracks.table)
    rows = np.arange(len(x))
    back = _reach(piece, -round(past * tracks.rate))
    on = _reach(piece, round(future * tracks.rate))
    with np.errstate(invalid="ignore"):
        speed_past = (x - x[back]) / (rows - back)
        speed_future = (x[on] - x) / (on - rows)
    return speed_future < factor * speed_past


def after_crossing(
    tracks: Tracks, slow: float = 0.2, rest: float = 0.5, most: float = 5.0
) -> Bools:
    """Return rows `[n]` in the last phase of a change: across already, still moving aside.

    The phase ends when the sideways speed has stayed below `slow` for `rest` seconds, at most
    `most` seconds after the crossing. A prediction is not asked for there, since the change is
    plain to see and its crossing over.

    Args:
        tracks: `n` rows.
        slow: metres a second.
        rest: seconds.
        most: seconds.

    Example:
        >>> y = [0.0, 1.0, 2.0, 3.0, 3.0, 3.0]
        >>> change = {"vehicle": 1, "frame": range(6), "x": 0.0, "y": y, "lane": [0, 0, 1, 1, 1, 1]}
        >>> after_crossing(Tracks.of(change, rate=1), rest=1.0).tolist()
        [False, False, True, True, False, False]
    """
    table = tracks.table
    piece = pieces(table)
    rows = np.arange(len(table))
    y = table["y"].to_numpy()
    previous = _reach(piece, -1)
    moving = np.abs(y - y[previous]) * tracks.rate >= slow
    needed = max(1, round(rest * tracks.rate))
    count = np.cumsum(moving)
    back = _reach(piece, -needed)
    at_rest = (count - count[back] == 0) & (rows - back == needed)
    latest_crossing = _latest(crossings(tracks) != 0)
    latest_rest = _latest(at_rest)
    recent = (latest_crossing >= 0) & (rows - latest_crossing <= most * tracks.rate)
    same_piece = piece[np.maximum(latest_crossing, 0)] == piece
    return recent & same_piece & (latest_rest < latest_crossing)


def _latest(where: Bools) -> Ints:
    """Row `[n]` at or before each where `where` holds, -1 for none."""
    return np.maximum.accumulate(np.where(where, np.arange(len(where)), -1))


def _reach(piece: Ints, steps: int) -> Ints:
    """Row `[n]` that is `steps` rows on, or the piece's last (first) one if it ends before."""
    rows = np.arange(len(piece))
    first = np.flatnonzero(np.diff(piece, prepend=-1))
    last = np.r_[first[1:], len(piece)] - 1
    return np.clip(rows + steps, first[piece], last[piece])


def count_changes(tracks: Tracks) -> pd.Series:
    """Return the number of crossings to the `left` and to the `right`.

    >>> lanes = {"vehicle": 1, "frame": range(4), "x": 0.0, "lane": [0, 0, 1, 1]}
    >>> count_changes(Tracks.of(lanes, rate=1)).to_dict()
    {'left': 1, 'right': 0}
    """
    moves = crossings(tracks)
    return pd.Series({"left": int((moves > 0).sum()), "right": int((moves < 0).sum())})
