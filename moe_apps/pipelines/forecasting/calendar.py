"""What the calendar says of a time step: where in the day, the week and the year it lies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

DAY = 86_400
YEAR = 365.2425 * DAY
MONDAY = 4 * DAY
"""The first Monday of 1970, from which weeks are counted."""


class Cycle(NamedTuple):
    """A cycle of the calendar: its name, length and beginning, in seconds since 1970."""

    name: str
    seconds: float
    start: int


CYCLES = (Cycle("day", DAY, 0), Cycle("week", 7 * DAY, MONDAY), Cycle("year", YEAR, 0))


def step_seconds(step: pd.offsets.BaseOffset | None) -> float:
    """Seconds of a time step, the usual ones where they vary (months); 0 where there is no time.

    >>> step_seconds(pd.offsets.Hour(2)), step_seconds(None)
    (7200.0, 0.0)
    """
    if step is None:
        return 0.0
    times = pd.date_range("2023-01-01", periods=13, freq=step)
    return float((times[-1] - times[0]).total_seconds() / 12)


def cycles_of(step: pd.offsets.BaseOffset | None) -> tuple[Cycle, ...]:
    """The cycles in which a step is at most half of the whole; none where rows carry no time.

    >>> [cycle.name for cycle in cycles_of(pd.offsets.Day())]
    ['week', 'year']
    """
    seconds = step_seconds(step)
    return tuple(c for c in CYCLES if 0 < 2 * seconds <= c.seconds)


def calendar_features(
    times: pd.Index, step: pd.offsets.BaseOffset | None
) -> npt.NDArray[np.float32]:
    """Sine and cosine of each cycle, `[times, 2 * cycles]`, by the clock of the time stamps.

    >>> dawn = pd.DatetimeIndex(["2024-01-01 06:00"])
    >>> calendar_features(dawn, pd.offsets.Hour())[0, :2].round(3).tolist()
    [1.0, -0.0]
    """
    if not isinstance(times, pd.DatetimeIndex):
        return np.zeros((len(times), 0), np.float32)
    seconds = times.tz_localize(None).as_unit("s").asi8
    return features_of_seconds(seconds, cycles_of(step), np)


def features_of_seconds(seconds: Any, cycles: tuple[Cycle, ...], numbers: Any) -> Any:
    """The same from whole seconds since 1970, `[...]` to `[..., 2 * cycles]`.

    Args:
        seconds: int64, by the wall clock.
        cycles: as `cycles_of` gives them.
        numbers: NumPy, or `tensorflow.experimental.numpy` inside a served graph.
    """
    columns = []
    for cycle in cycles:
        whole = round(cycle.seconds)
        # The remainder in whole numbers first: float32 does not hold seconds since 1970.
        share = numbers.asarray(numbers.mod(seconds - cycle.start, whole), dtype="float32")
        angle = share * np.float32(2 * np.pi / whole)
        columns += [numbers.sin(angle), numbers.cos(angle)]
    if not columns:
        return numbers.zeros((*seconds.shape, 0), "float32")
    return numbers.stack(columns, axis=-1)
