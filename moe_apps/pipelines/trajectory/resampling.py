"""Brings tracks to another rate, piece by piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.tracks import Tracks, pieces

Floats = npt.NDArray[np.float64]


def resample(tracks: Tracks, rate: float) -> Tracks:
    """Return tracks at `rate` Hz: frames at whole multiples of `1 / rate` seconds.

    Positions are interpolated linearly between the two frames around, never over a missing frame;
    lane, size and kind are those of the nearest frame. To a third of the rate or less, positions
    are first averaged over the frames of one new step (centred, so half a new step looks ahead),
    which keeps what is faster than the new rate from showing up as something slow.

    Args:
        tracks: at any rate.
        rate: Hz, positive.

    Raises:
        DataError: No piece is long enough to hold a frame at the new rate.

    Example:
        >>> five = Tracks.of({"vehicle": 1, "frame": [0, 1, 2], "x": [0.0, 2.0, 5.0]}, rate=5)
        >>> resample(five, 10).table["x"].tolist()
        [0.0, 1.0, 2.0, 3.5, 5.0]
    """
    if rate == tracks.rate:
        return tracks
    if not rate > 0:
        raise DataError(f"{tracks.source}: resampling to {rate} Hz, expected a positive number")
    table = tracks.table
    piece = pieces(table)
    first = np.flatnonzero(np.diff(piece, prepend=-1))
    last = np.r_[first[1:], len(table)] - 1
    frame = table["frame"].to_numpy()
    # A new frame may miss an old one by rounding only.
    start = np.ceil(frame[first] * (rate / tracks.rate) - 1e-6).astype(np.int64)
    stop = np.floor(frame[last] * (rate / tracks.rate) + 1e-6).astype(np.int64) + 1
    count = np.maximum(stop - start, 0)
    owner = np.repeat(np.arange(len(first)), count)
    if len(owner) == 0:
        raise DataError(f"{tracks.source}: no track is long enough for a rate of {rate:g} Hz")
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    new_frame = start[owner] + within
    # Where the new frame lies among the old rows, as row number and fraction.
    place = first[owner] + new_frame * (tracks.rate / rate) - frame[first][owner]
    place = np.clip(place, first[owner], last[owner])
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, last[owner])
    part = place - below
    columns: dict[str, object] = {}
    nearest = np.where(part < 0.5, below, above)
    for name in ("recording", "vehicle", "lane", "length", "width", "kind"):
        columns[name] = table[name].array.take(nearest)
    for name in ("x", "y"):
        values = _averaged(table[name].to_numpy(), first, last, piece, tracks.rate / rate)
        columns[name] = values[below] * (1 - part) + values[above] * part
    columns["frame"] = new_frame
    lost = int((count == 0).sum())
    notes = [f"brought from {tracks.rate:g} to {rate:g} Hz"]
    if lost:
        notes.append(f"{lost} pieces of tracks dropped: too short for one frame at {rate:g} Hz")
    return Tracks.of(
        pd.DataFrame(columns), rate, tracks.source, (*tracks.notes, *notes), tracks.lane_width
    )


def _averaged(
    values: Floats,
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    piece: npt.NDArray[np.int64],
    factor: float,
) -> Floats:
    """Mean `[rows]` over `factor` rows around each; fewer, but as many on both sides, at ends."""
    reach = (round(factor) - 1) // 2
    if reach < 1:
        return values
    row = np.arange(len(values))
    side = np.minimum(reach, np.minimum(row - first[piece], last[piece] - row))
    # Sums from the piece's first value on, since positions may be large beside their changes.
    base = values[first][piece]
    sums = np.r_[0.0, np.cumsum(values - base)]
    return base + (sums[row + side + 1] - sums[row - side]) / (2 * side + 1)
