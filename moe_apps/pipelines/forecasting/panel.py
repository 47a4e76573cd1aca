"""The data of a forecasting run: several regular series on one time step."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd


def fill_missing(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Carry the last observed value forward, and the first one backward to the beginning.

    Args:
        values: `[time]`; NaN and infinities count as missing. At least one is finite.

    Returns:
        The filled values and the mask of observed ones, both `[time]`.

    >>> filled, observed = fill_missing(np.array([np.nan, 1.0, np.inf, 3.0]))
    >>> filled.tolist(), observed.tolist()
    ([1.0, 1.0, 1.0, 3.0], [False, True, False, True])
    """
    observed = np.isfinite(values)
    latest = np.maximum.accumulate(np.where(observed, np.arange(len(values)), observed.argmax()))
    return values[latest], observed


@dataclass(frozen=True)
class Series:
    """One regular series: a value at every step from `start` on, in the file's own unit.

    Attributes:
        name: unique in its panel, `id/column` where a file has ids and several value columns.
        start: time stamp of the first value, or its row number where there are no time stamps.
        values: float64 `[time]`, finite: missing ones are filled.
        observed: bool `[time]`, False where a value was filled.
        covariates: float64 `[time + ahead, columns]`, what is known beside the values, also of
            rows after the last value where the file has them; None where there are no columns.

    >>> len(Series("load", 0, np.array([1.0, 2.0]), np.array([True, True])))
    2
    """

    name: str
    start: pd.Timestamp | int
    values: npt.NDArray[np.float64]
    observed: npt.NDArray[np.bool_]
    covariates: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Panel:
    """Series of one time step, of equal or unequal length.

    Attributes:
        series: the series, in the order of the file.
        step: the time between two values; None where rows are numbered and carry no time.
        notes: one sentence each on what was found in the file and how it was filled.
        covariates: names of the columns of `Series.covariates`.

    >>> day = Series("load", pd.Timestamp("2024-02-28"), np.array([1.0, 2.0]), np.ones(2, bool))
    >>> panel = Panel((day,), pd.offsets.Day())
    >>> [str(time.date()) for time in panel.future(day, 2)]
    ['2024-03-01', '2024-03-02']
    """

    series: tuple[Series, ...]
    step: pd.offsets.BaseOffset | None
    notes: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()

    def times(self, series: Series) -> pd.Index:
        """Time stamps `[time]` of a series; row numbers where the panel has no time."""
        return self._times(series, len(series))

    def future(self, series: Series, horizon: int) -> pd.Index:
        """Time stamps of the `horizon` steps that follow a series."""
        return self._times(series, len(series) + horizon)[len(series) :]

    def ahead(self, series: Series, row: int, horizon: int) -> pd.Index:
        """Time stamps of the `horizon` steps of a series from a row on."""
        return self._times(series, row + horizon)[row:]

    def _times(self, series: Series, periods: int) -> pd.Index:
        if isinstance(series.start, int):
            return pd.RangeIndex(series.start, series.start + periods)
        return pd.date_range(series.start, periods=periods, freq=self.step)

    def digest(self) -> str:
        """SHA-256 of everything but the notes: equal for equal data, whatever the file's form."""
        content = hashlib.sha256(str(self.step and self.step.freqstr).encode())
        for series in self.series:
            content.update(f"\n{series.name}\n{series.start}\n{len(series)}\n".encode())
            content.update(np.ascontiguousarray(series.values, "<f8").tobytes())
            content.update(np.packbits(series.observed).tobytes())
            if series.covariates is not None:
                content.update(np.ascontiguousarray(series.covariates, "<f8").tobytes())
        return content.hexdigest()


@dataclass
class Notes:
    """What a reader found and did, by kind, so that a thousand series make one sentence.

    >>> notes = Notes(["a first sentence"])
    >>> notes.add("missing values filled", "load", 3)
    >>> notes.lines()
    ('a first sentence', 'missing values filled: load 3')
    """

    sentences: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int | None]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, kind: str, name: str, count: int | None = None) -> None:
        """Note a finding of a kind for one series or column; a count of 0 is no finding."""
        if count is None or count > 0:
            self.counts[kind][name] = count

    def lines(self) -> tuple[str, ...]:
        """One line a sentence or kind; a kind names its first twelve and counts the rest."""
        lines = list(self.sentences)
        for kind, counts in self.counts.items():
            named = [name if n is None else f"{name} {n}" for name, n in counts.items()]
            more = f" and {len(named) - 12} more" if len(named) > 12 else ""
            lines.append(f"{kind}: {', '.join(named[:12])}{more}")
        return tuple(lines)
