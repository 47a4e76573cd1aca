"""Turns recordings so that x runs along the driving direction, and splits them by direction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE

MOVED = 2.0
"""Metres a vehicle has to move for its direction to be known from its positions."""


def along_the_road(
    rows: pd.DataFrame, lanes_either_way: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """Turn each recording into the frame of its road.

    Vehicles are sorted into up to four directions, a quarter turn each around the axis along which
    most is driven. Each direction becomes a recording of its own (`name/1`, `name/2`, ... by
    distance driven; just `name` if there is one), turned so that x is its mean direction, and moved
    so that x begins at 0 and y is 0 in the middle. Lanes count from 0. Vehicles that stand, and
    carry no heading, are taken for ones of the main direction.

    Args:
        rows: sorted by recording, vehicle, frame; x and y in metres, y to the left of x; optional
            `heading` in radians, `lane` (-1 unknown).
        lanes_either_way: whether it is unknown if lane numbers grow to the left or to the right;
            where the lanes lie then tells. By default they grow to the left.

    Returns:
        The rows without `heading`, and notes.
    """
    parts, notes = [], []
    for name, recording in rows.groupby("recording", sort=True):
        turned, note = _split(str(name), recording, lanes_either_way)
        parts.append(turned)
        notes += note
    return pd.concat(parts, ignore_index=True), notes


def _split(name: str, rows: pd.DataFrame, lanes_either_way: bool) -> tuple[pd.DataFrame, list[str]]:
    angle, weight = _courses(rows)
    unknown = angle.isna()
    notes = []
    if unknown.any():
        notes.append(
            f"{int(unknown.sum())} vehicles move less than {MOVED:g} m and carry no heading: taken "
            "for ones of the main direction"
        )
        angle, weight = angle.fillna(0.0), weight.mask(unknown, 0.0)
    course = pd.Series(weight * np.exp(1j * angle), index=angle.index)
    # An axis is an angle modulo half a turn, hence the doubled angle.
    axis = np.angle((weight * np.exp(2j * angle)).sum()) / 2
    quarter = np.round((angle - axis) / (np.pi / 2)).astype(int) % 4
    main = weight.groupby(quarter).sum().idxmax()
    quarter = quarter.mask(unknown, main)
    driven = weight.groupby(quarter).sum().sort_values(ascending=False)
    parts = []
    for number, sector in enumerate(driven.index, start=1):
        members = angle.index[quarter == sector]
        part = rows[rows["vehicle"].isin(members)]
        mean = float(np.angle(course[members].sum()))
        recording = name if len(driven) == 1 else f"{name}/{number}"
        parts.append(_turned(part, mean, lanes_either_way).assign(recording=recording))
    if len(driven) > 1:
        notes.append(
            f"{len(driven)} driving directions, each a recording of its own: "
            + ", ".join(f"{part['vehicle'].nunique()} vehicles" for part in parts)
        )
    return pd.concat(parts), notes


def _courses(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Direction in radians and metres driven of each vehicle; NaN where it is unknown."""
    vehicle = rows.groupby("vehicle")
    step = vehicle[["x", "y"]].last() - vehicle[["x", "y"]].first()
    moved = (step["x"] ** 2 + step["y"] ** 2) ** 0.5
    angle = pd.Series(np.arctan2(step["y"], step["x"]), index=step.index)
    if "heading" in rows:
        heading = np.exp(1j * rows["heading"].to_numpy(np.float64))
        mean = pd.Series(heading, index=rows.index).groupby(rows["vehicle"])
        standing = mean.apply(lambda values: float(np.angle(values.sum())))
    else:
        standing = pd.Series(np.nan, index=step.index)
    # Those that stand count a little, so that a recording of queues has a direction too.
    return angle.where(moved >= MOVED, standing), moved.clip(lower=0.1)


def _turned(rows: pd.DataFrame, angle: float, lanes_either_way: bool) -> pd.DataFrame:
    x, y = rows["x"].to_numpy(np.float64), rows["y"].to_numpy(np.float64)
    along = x * np.cos(angle) + y * np.sin(angle)
    aside = y * np.cos(angle) - x * np.sin(angle)
    rows = rows.assign(x=along - along.min(), y=aside - np.median(aside))
    if "lane" in rows:
        lane = rows["lane"].to_numpy(np.int64)
        if lanes_either_way:
            rows["lane"] = from_the_right(lane, rows["x"].to_numpy(), rows["y"].to_numpy())
        elif (lane != UNKNOWN_LANE).any():
            lowest = lane[lane != UNKNOWN_LANE].min()
            rows["lane"] = np.where(lane == UNKNOWN_LANE, lane, lane - lowest)
    return rows.drop(columns="heading", errors="ignore")


def from_the_right(
    lane: npt.NDArray[np.int64], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return lane numbers that grow to the left from 0, whichever way the file counts them.

    Which way that is follows from where the lanes lie, bends of the road allowed for.

    >>> y = np.array([0.0, 3.5, 7.0])
    >>> from_the_right(np.array([7, 6, 5]), np.zeros(3), y).tolist()
    [0, 1, 2]
    """
    known = lane != UNKNOWN_LANE
    if not known.any():
        return lane
    numbers = lane[known]
    if numbers.min() == numbers.max():
        return np.where(known, 0, UNKNOWN_LANE)
    place = (x[known] - x[known].mean()) / (x[known].std() or 1.0)
    terms = np.stack([np.ones_like(place), place, place**2, numbers - numbers.mean()], axis=1)
    to_the_left = np.linalg.lstsq(terms, y[known], rcond=None)[0][-1] > 0
    counted = lane - numbers.min() if to_the_left else numbers.max() - lane
    return np.where(known, counted, UNKNOWN_LANE)
