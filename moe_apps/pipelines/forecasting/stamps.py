"""Which column of a table is its time, and what its cells say."""

from __future__ import annotations

import difflib
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types
from pandas.tseries.api import guess_datetime_format

from moe_apps.pipelines.forecasting.tables import Table

_TIME_NAME = re.compile(
    r"(?:^|[^a-z])(?:date|time|datetime|timestamp|ds|period|day|week|month|quarter|year)(?:[^a-z]|$)"
)

_OFFSET = r"[T ]\d{1,2}(?::?\d{2}){0,2}(?:\.\d+)?\s*(Z|[+-]\d{2}(?::?\d{2})?)$"


@dataclass(frozen=True)
class TimeColumn:
    """A table's time column: its name, its stamps `[rows]`, and notes on how they were read."""

    name: str
    times: pd.DatetimeIndex
    notes: tuple[str, ...]


def find_times(table: Table, named: str | None = None) -> TimeColumn:
    """Parse the time column that is `named`, or else find it.

    Found is the first column that parses as time: columns of text or times before columns of
    whole numbers, and those whose name says time (date, time, ds, timestamp, ...) before others.
    Whole numbers count only under such a name, as years, YYYYMMDD, or seconds or milliseconds
    since 1970. Dates of slashes or dots are read month first where that fits every row, else
    day first. A time zone is kept; offsets that change in the course of time, as those of one zone
    do, are turned into UTC.

    Raises:
        DataError: no such column, none found, a cell that is no time stamp, or time zones that are
            mixed (the row is named).

    >>> from pathlib import Path
    >>> frame = pd.DataFrame({"a": [1.5, 2.5], "when": ["1990/1/1 0:00", "1990/1/13 0:00"]})
    >>> find_times(Table(Path("a.csv"), frame)).times[1]
    Timestamp('1990-01-13 00:00:00')
    """
    columns = list(table.frame.columns)
    if named is not None:
        if named not in columns:
            raise table.error(missing_column(named, columns, "time"))
        candidates = [named]
    else:
        candidates = _candidates(table)
    for column in candidates:
        times, notes = _parse(table.frame[column])
        # Half decides, as for numbers: a column of times with a bad cell is not a column of text.
        if 2 * _count(times) >= max(1, table.frame[column].count()):
            break
    else:
        if named is not None:
            found = "".join(table.frame[named].dropna().astype(str).head(1))
            raise table.error(f"column '{named}' holds no time stamps, found '{found}'")
        raise table.error(
            f"no time column among {', '.join(columns)}; name it with time_column, or say "
            "time_column=none if the rows are in time order and evenly spaced"
        )
    if times.hasnans:
        row = int(np.argmax(times.isna()))
        cell = table.frame[column].iloc[row]
        said = "a blank" if pd.isna(cell) else f"'{cell}'"
        raise table.error(f"column '{column}': found {said}, expected a time stamp", row)
    if times.tz is not None:
        _check_zones(table, column, times)
        notes.append(f"time stamps are in the time zone {times.tz}")
    return TimeColumn(column, times.as_unit("us"), tuple(notes))


def _check_zones(table: Table, column: str, times: pd.DatetimeIndex) -> None:
    """Refuse stamps with and without an offset, and two offsets at one moment."""
    if str(times.tz) != "UTC" or not table.is_text(column):
        return  # one offset all through
    text = table.frame[column].astype("string").str.strip()
    offsets = text.str.extract(_OFFSET, expand=False).str.replace("Z", "+00").str.replace(":", "")
    without = offsets.isna().to_numpy()
    if without.all():  # written in another way; pandas has read them all
        return
    if without.any():
        row = int(without.argmax())
        raise table.error(
            f"column '{column}': '{text.iloc[row]}' has no time zone, "
            f"'{text.iloc[int((~without).argmax())]}' has one; give all or none",
            row,
        )
    same = pd.DataFrame({"moment": times, "offset": offsets.str.ljust(5, "0").to_numpy()})
    kinds = same.drop_duplicates()
    again = kinds[kinds["moment"].duplicated()]
    if len(again):
        row = int(again.index[0])
        first = int((same["moment"] == same["moment"].iloc[row]).to_numpy().argmax())
        raise table.error(
            f"column '{column}': time zones are mixed, one moment stands as '{text.iloc[row]}' "
            f"and, in row {table.frame.index[first]}, as '{text.iloc[first]}'; bring all rows into "
            "one zone",
            row,
        )


def missing_column(name: str, columns: list[str], role: str) -> str:
    """The sentence that says a named column is not there, with the nearest that is."""
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"no {role} column '{name}', found {', '.join(columns)}{hint}"


def _candidates(table: Table) -> list[str]:
    def rank(column: str) -> tuple[bool, bool]:
        cells = table.frame[column]
        return types.is_numeric_dtype(cells), not _TIME_NAME.search(column.lower())

    ranks = {column: rank(column) for column in table.frame.columns}
    return sorted((c for c, r in ranks.items() if r != (True, True)), key=lambda c: ranks[c])


def _parse(cells: pd.Series) -> tuple[pd.DatetimeIndex, list[str]]:
    """Read cells as times, NaT where that fails."""
    if types.is_datetime64_any_dtype(cells):
        return pd.DatetimeIndex(cells), []
    if types.is_numeric_dtype(cells):
        return _parse_numbers(cells), []
    # What repeats, as in a file of many series, is read once.
    places, kinds = pd.factorize(cells)
    if not len(kinds):
        return pd.DatetimeIndex([pd.NaT] * len(cells)), []
    text = pd.Series(kinds).astype("string").str.strip()
    sample = next(iter(text.dropna()), "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the day-first guess: both orders are tried on purpose
        month_first, day_first = (guess_datetime_format(sample, dayfirst=d) for d in (False, True))
    formats = [f for f in (month_first, day_first, "%m/%d/%Y %I:%M %p", "%b %Y") if f]
    read = {name: _read(text, name) for name in ("ISO8601", *formats)}
    best = max(read, key=lambda name: _count(read[name]))
    tied = [f for f in {month_first, day_first} if f and _count(read[f]) == _count(read[best])]
    # A blank has place -1: the last.
    times = pd.DatetimeIndex(read[best].insert(len(kinds), pd.NaT).take(places))
    if best in tied and len(tied) > 1:
        return times, ["dates fit month first and day first, and were read month first"]
    return times, []


def _count(times: pd.DatetimeIndex) -> int:
    return int(np.count_nonzero(times.notna()))


def _read(text: pd.Series, form: str) -> pd.DatetimeIndex:
    try:
        return pd.DatetimeIndex(pd.to_datetime(text, format=form, errors="coerce"))
    except ValueError:  # offsets differ from row to row, as across a change of the clock
        return pd.DatetimeIndex(pd.to_datetime(text, format=form, errors="coerce", utc=True))


def _parse_numbers(cells: pd.Series) -> pd.DatetimeIndex:
    numbers = cells.to_numpy(np.float64, na_value=np.nan)
    low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
    whole = pd.Series(numbers).round().astype("Int64")
    if not np.array_equal(numbers, np.round(numbers), equal_nan=True):
        return pd.DatetimeIndex([pd.NaT] * len(cells))
    if low >= 1000 and high <= 9999:
        return _read(whole.astype("string"), "%Y")
    if low >= 1000_01_01 and high <= 9999_12_31:
        return _read(whole.astype("string"), "%Y%m%d")
    for per_second in (1, 1000):
        if 10**8 * per_second <= low and high < 10**10 * per_second:
            return pd.DatetimeIndex(pd.to_datetime(whole * (1000 // per_second), unit="ms"))
    return pd.DatetimeIndex([pd.NaT] * len(cells))
