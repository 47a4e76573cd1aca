"""The regular time grid of a series: its step, and where each time stamp lies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.frequencies import to_offset

from moe_apps.errors import ConfigError

TOLERANCE = 0.1
"""Share of a step by which a time stamp may miss its grid point and still be moved onto it."""

LARGEST_GROWTH = 20
"""A grid this many times longer than its series is a wrong step, not a series with gaps."""

_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Placement:
    """Time stamps on a grid: its start and length, and for each stamp its position `[stamps]`.

    `moved` marks stamps that were moved onto the grid, `off` those too far from any point of it.
    """

    start: pd.Timestamp
    length: int
    positions: npt.NDArray[np.int64]
    moved: npt.NDArray[np.bool_]
    off: npt.NDArray[np.bool_]


def parse_step(frequency: str) -> pd.offsets.BaseOffset:
    """The step that a pandas alias names, such as `h`, `15min`, `D`, `B`, `W-MON`, `MS`.

    Raises:
        ConfigError: not an alias, or a step that does not go forward.

    >>> parse_step("15min")
    <15 * Minutes>
    """
    try:
        step = to_offset(frequency)
    except ValueError:
        step = None
    if step is None or step.n < 1:
        raise ConfigError(
            f"frequency '{frequency}' is not a time step; expected a pandas alias such as "
            "h, 15min, D, B, W-MON or MS"
        )
    return step


def infer_step(times: Sequence[pd.DatetimeIndex]) -> pd.offsets.BaseOffset | None:
    """The most common difference between neighbours, over all series; None if there is none.

    From four weeks up, stamps that all lie on the first (last) day of a month are counted in
    months. Daily stamps of over a week without any Saturday or Sunday are business
    days.

    Args:
        times: for each series its stamps, sorted, without repetition.

    >>> infer_step([pd.DatetimeIndex(["2024-01-01", "2024-02-01", "2024-03-01"])])
    <MonthBegin>
    """
    differences = np.concatenate([np.diff(t.as_unit("us").asi8) for t in times])
    if not differences.size:
        return None
    sizes, counts = np.unique(differences, return_counts=True)
    common = pd.Timedelta(int(sizes[counts.argmax()]), unit="us")
    if common >= 28 * _DAY:
        months = round(common / _DAY / 30.44)
        if all((t.day == 1).all() for t in times):
            return pd.offsets.MonthBegin(months)
        if all(t.is_month_end.all() for t in times):
            return pd.offsets.MonthEnd(months)
    a_week = any(t.max() - t.min() > 7 * _DAY for t in times)
    if common == _DAY and a_week and all((t.day_of_week < 5).all() for t in times):
        return pd.offsets.BusinessDay()
    if common % _DAY == pd.Timedelta(0):
        return pd.offsets.Day(common // _DAY)
    return to_offset(common)


def never_so_dense(times: pd.DatetimeIndex, step: pd.offsets.BaseOffset) -> bool:
    """Whether all of at least five stamps are further apart than a step and a half.

    >>> days = pd.date_range("2024-01-01", periods=5)
    >>> never_so_dense(days, pd.offsets.Hour()), never_so_dense(days, pd.offsets.Day())
    (True, False)
    """
    first, second = pd.date_range("2024-01-01", periods=2, freq=step)
    return len(times) >= 5 and bool((times[1:] - times[:-1]).min() > 1.5 * (second - first))


def place(times: pd.DatetimeIndex, step: pd.offsets.BaseOffset) -> Placement:
    """Lay sorted time stamps on the regular grid of `step` that begins with the first of them.

    A stamp off the grid by at most a tenth of a step is moved onto it: clocks jitter. Where the
    step is a fixed time (hours, minutes, ...) the grid's phase is the most common one, so that a
    single odd stamp at the front does not decide for all.

    Raises:
        ValueError: the grid would be over twenty times longer than the series.

    >>> late = pd.DatetimeIndex(["2024-01-01 00:00", "2024-01-01 01:02", "2024-01-01 03:00"])
    >>> placed = place(late, pd.offsets.Hour())
    >>> placed.positions.tolist(), placed.moved.tolist(), placed.length
    ([0, 1, 3], [False, True, False], 4)
    """
    start = times[0]
    if isinstance(step, pd.offsets.Tick):
        size = pd.Timedelta(step) // pd.Timedelta(microseconds=1)
        ticks = times.as_unit("us").asi8
        phases, counts = np.unique(ticks % size, return_counts=True)
        ahead = int(phases[counts.argmax()] - ticks[0]) % size
        start += pd.Timedelta(ahead if 2 * ahead <= size else ahead - size, unit="us")
    first, second = pd.date_range(start, periods=2, freq=step)
    needed = int((times[-1] - times[0]) / (second - first))
    if needed > LARGEST_GROWTH * len(times) + 1000:
        raise ValueError(
            f"a step of {step.freqstr} makes {needed} time stamps of {len(times)}; "
            "is the step right? (frequency sets it)"
        )
    grid = pd.date_range(start, times[-1] + 2 * step, freq=step)
    positions = grid.get_indexer(times, method="nearest")
    shift = np.abs(times - grid[positions])
    return Placement(
        start=grid[0],
        length=int(positions[-1]) + 1,
        positions=positions.astype(np.int64),
        moved=np.asarray(shift > pd.Timedelta(0)),
        off=np.asarray(shift > TOLERANCE * (second - first)),
    )
