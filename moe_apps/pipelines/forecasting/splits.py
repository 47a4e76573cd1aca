"""Splits the rows of a panel by time, as forecasting benchmarks do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.forecasting.panel import Panel, Series

Protocol = Literal["ett", "fraction"]

_ETT_MONTHS = (12, 4, 4)
_HOURS_A_MONTH = 30 * 24


@dataclass(frozen=True)
class Split:
    """The rows of one series that belong to training, validation and test, in this order.

    Raises:
        DataError: the three overlap or are out of order.

    >>> Split(range(0, 7), range(7, 8), range(8, 10)).test
    range(8, 10)
    """

    train: range
    validation: range
    test: range

    def __post_init__(self) -> None:
        ends = [end for part in self.parts() for end in (part.start, part.stop)]
        if ends != sorted(ends) or ends[0] < 0:
            raise DataError(f"training, validation and test rows overlap or are disordered: {self}")

    def parts(self) -> tuple[range, range, range]:
        return self.train, self.validation, self.test


def split(
    panel: Panel,
    protocol: Protocol = "fraction",
    *,
    train_fraction: float = 0.7,
    test_fraction: float = 0.2,
) -> tuple[Split, ...]:
    """Split every series by time, as the long-horizon forecasting benchmarks do.

    Args:
        panel: the series.
        protocol: "ett": the first 12, the next 4 and the next 4 months of 30 days, for hourly or
            15-minute data; rows after them are never used. "fraction": of a series of n rows
            int(train_fraction * n) are for training, the last int(test_fraction * n) for test,
            those between for validation; each series by its own length.

    Raises:
        DataError: protocol "ett" on another time step, or on a series of under 20 such months.
        ConfigError: fractions that are not positive or leave nothing for validation.

    >>> rows = np.zeros(7588)
    >>> panel = Panel((Series("rate", 0, rows, rows == 0),), None)
    >>> [len(part) for part in split(panel)[0].parts()]
    [5311, 760, 1517]
    """
    if protocol == "ett":
        return tuple(_ett_split(series, _rows_per_hour(panel)) for series in panel.series)
    if protocol != "fraction":
        raise ConfigError(f"protocol '{protocol}' is unknown; expected ett or fraction")
    if not (train_fraction > 0 and test_fraction > 0 and train_fraction + test_fraction < 1):
        raise ConfigError(
            f"train_fraction {train_fraction} and test_fraction {test_fraction} must be positive "
            "and leave a part between them for validation"
        )
    splits = []
    for series in panel.series:
        train = int(train_fraction * len(series))
        test = len(series) - int(test_fraction * len(series))
        splits.append(Split(range(0, train), range(train, test), range(test, len(series))))
    return tuple(splits)


def _rows_per_hour(panel: Panel) -> int:
    for rows, minutes in ((1, 60), (4, 15)):
        if panel.step == pd.offsets.Minute(minutes):
            return rows
    step = "none" if panel.step is None else panel.step.freqstr
    raise DataError(f"protocol ett is for hourly or 15-minute data, found a step of {step}")


def _ett_split(series: Series, rows_per_hour: int) -> Split:
    ends = np.cumsum([0, *_ETT_MONTHS]) * _HOURS_A_MONTH * rows_per_hour
    if len(series) < ends[-1]:
        raise DataError(
            f"series '{series.name}' has {len(series)} rows; protocol ett needs {ends[-1]} "
            "(20 months of 30 days)"
        )
    return Split(*(range(int(a), int(b)) for a, b in pairwise(ends)))
