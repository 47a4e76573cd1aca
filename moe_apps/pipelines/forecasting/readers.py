"""Reads a CSV or Parquet file, wide or long, into a panel of regular series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from moe_apps.pipelines.forecasting.covariate_columns import apart, choose_covariates
from moe_apps.pipelines.forecasting.grid import infer_step, never_so_dense, parse_step, place
from moe_apps.pipelines.forecasting.panel import Notes, Panel, Series, fill_missing
from moe_apps.pipelines.forecasting.stamps import find_times, missing_column
from moe_apps.pipelines.forecasting.tables import Table, load_table

NO_TIME = "none"
"""Given as `time_column`: there is none, rows are in time order and evenly spaced."""

_ID_NAME = re.compile(r"(?:.*[ _])?id|series|unique_id", re.IGNORECASE)
_CALENDAR = {"year", "month", "day", "hour", "minute", "second", "weekday"}
_COUNTER = re.compile(r"Unnamed: \d+|index|level_\d+", re.IGNORECASE)

_Columns = dict[str, npt.NDArray[np.float64]]
_Step = pd.offsets.BaseOffset | None


def read_panel(
    path: str | Path,
    *,
    time_column: str | None = None,
    id_columns: Sequence[str] | None = None,
    value_columns: Sequence[str] | None = None,
    frequency: str | None = None,
    covariates: Sequence[str] = (),
    blank_ahead: Sequence[str] = (),
) -> Panel:
    """Read a file of one or many series and put each on a regular time grid.

    Args:
        path: `.parquet`/`.pq`, or CSV under any other name.
        time_column: its name; None finds it (see `find_times`), "none" says there is none.
        id_columns: the columns that tell series apart in a long file. None finds them: columns
            called id, ..._id, series or unique_id whose values repeat; or, where at least a tenth
            of the rows repeat an earlier time stamp, the text column (or all of them together)
            that leaves the fewest time stamps repeated within a series. An empty list means wide.
        value_columns: the columns to forecast. None takes every column of numbers, except row
            counters (unnamed, index) and the parts of a date (year, month, day, hour, ...).
        frequency: the time step as a pandas alias; None takes the most common difference.
        covariates: columns of numbers that are known beside the values and are not forecast. Rows
            after the last value of an id that have only these are its future.
        blank_ahead: those of them that may be blank there; they stay what they were.

    What is not regular is put right by these rules, each reported in `Panel.notes`: rows out of
    order are sorted; a repeated row is dropped; missing time stamps are inserted; a stamp off the
    grid by up to a tenth of a step is moved onto it; missing and infinite values take the last
    observed one (before the first: the first) and are marked in `Series.observed`; a column
    without any value is left out; text columns that are neither chosen nor an id are skipped.

    Raises:
        DataError: what no rule covers: unreadable or empty file, no time column, no numbers, text
            among numbers, one time stamp with two values, a stamp further off the grid.
        ConfigError: `frequency` is no time step.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "load.csv"
    >>> rows = ["day,load", "2024-01-01,1", "2024-01-02,", "2024-01-03,3", "2024-01-05,5"]
    >>> _ = path.write_text("\\n".join(rows))
    >>> panel = read_panel(path)
    >>> panel.series[0].values.tolist(), panel.notes[0]
    ([1.0, 1.0, 3.0, 3.0, 5.0], 'missing time stamps inserted: all series 1')
    """
    step = None if frequency is None else parse_step(frequency)
    table = load_table(path)
    notes = Notes()
    times, time_name = None, None
    if time_column != NO_TIME:
        if table.frame.isna().all(axis=1).any():  # or a large file would be copied for nothing
            table = Table(table.path, table.frame.dropna(how="all"))
        found = find_times(table, time_column)
        times, time_name = found.times, found.name
        notes.sentences.extend(found.notes)
    columns = [c for c in table.frame.columns if c != time_name]
    ids = _choose_ids(table, columns, times, id_columns, value_columns)
    free = [c for c in columns if c not in ids]
    beside = choose_covariates(table, free, covariates, value_columns)
    values = _choose_values(table, [c for c in free if c not in beside], value_columns, notes)

    blocks = [
        _tidy(block, table, bool(ids), notes)
        for block in _blocks(table, times, ids, {**values, **beside})
    ]
    if times is not None and step is None:
        step = infer_step([block.times for block in blocks])
        if step is None:
            raise table.error("every series has a single time stamp; say its step with frequency")
        for block in blocks:
            if never_so_dense(block.times, step):
                raise table.error(
                    f"{block.label}: no two rows are one step of {step.freqstr} apart, the most "
                    "common in the file; series of another step go into a file of their own",
                    int(block.rows[0]),
                )
    required = [column not in blank_ahead for column in beside]
    series = [
        one
        for block in blocks
        for one in _regular(block, step, table, list(values), notes, required)
    ]
    if not series:
        raise table.error("no value in any value column")
    step = step if times is not None else None
    return Panel(tuple(series), step, notes.lines(), tuple(beside))


@dataclass(frozen=True)
class _Block:
    """The rows of one id: stamps `[rows]`, values `[rows, columns]`, positions in the table."""

    name: str
    times: pd.DatetimeIndex
    values: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]

    @property
    def label(self) -> str:
        return self.name or "all series"


def _choose_ids(
    table: Table,
    columns: list[str],
    times: pd.DatetimeIndex | None,
    given: Sequence[str] | None,
    value_columns: Sequence[str] | None,
) -> list[str]:
    if given is not None:
        for column in given:
            if column not in columns:
                raise table.error(missing_column(column, columns, "id"))
        return list(given)
    frame = table.frame
    free = [c for c in columns if c not in (value_columns or ())]
    labels = [c for c in free if table.is_text(c)]
    whole = [c for c in free if types.is_integer_dtype(frame[c])]
    named = [c for c in free if c in labels + whole and _ID_NAME.fullmatch(c)]
    named = [c for c in named if 2 * frame[c].nunique() <= len(frame)]
    if named or times is None or not labels or times.duplicated().mean() < 0.1:
        return named

    def repeated(choice: list[str]) -> int:
        return int(frame[choice].assign(**{"": times}).duplicated().sum())

    return min([*([c] for c in labels), labels], key=repeated)


def _choose_values(
    table: Table, columns: list[str], given: Sequence[str] | None, notes: Notes
) -> _Columns:
    values: _Columns = {}
    for column in columns if given is None else given:
        if column not in columns:
            raise table.error(missing_column(column, columns, "value"))
        if given is None and _COUNTER.fullmatch(column):
            notes.add("columns skipped, they count the rows", column)
            continue
        if given is None and column.lower() in _CALENDAR:
            notes.add("columns skipped, they are parts of the date", column)
            continue
        numbers = table.numbers(column, required=given is not None)
        if numbers is None:
            notes.add("columns skipped, they hold no numbers", column)
        else:
            values[column] = numbers
    if not values:
        raise table.error(f"no column of numbers to forecast among {', '.join(columns) or 'none'}")
    return values


def _blocks(
    table: Table, times: pd.DatetimeIndex | None, ids: list[str], values: _Columns
) -> list[_Block]:
    matrix = np.column_stack(list(values.values()))
    rows = np.arange(len(matrix))
    parts, names = [rows], [""]
    if ids:
        blank = table.frame[ids].isna().any(axis=1).to_numpy()
        if blank.any():
            raise table.error(f"blank in id column ({', '.join(ids)})", int(blank.argmax()))
        codes = table.frame.groupby(ids, sort=False, observed=True).ngroup().to_numpy()
        parts = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
        firsts = table.frame[ids].iloc[[part[0] for part in parts]].astype(str)
        names = firsts.agg("/".join, axis=1).to_list()
    empty = pd.DatetimeIndex([])
    return [
        _Block(name, empty if times is None else times[part], matrix[part], part)
        for name, part in zip(names, parts, strict=True)
    ]


def _tidy(block: _Block, table: Table, has_ids: bool, notes: Notes) -> _Block:
    """Sort rows by time and drop repeated ones; one stamp with two values is an error."""
    times, values, rows = block.times, block.values, block.rows
    if times.empty:
        return block
    if not times.is_monotonic_increasing:
        order = np.argsort(times.asi8, kind="stable")
        notes.add(
            "rows out of time order, sorted", block.label, int((np.diff(times.asi8) < 0).sum())
        )
        times, values, rows = times[order], values[order], rows[order]
    again = np.append(False, np.diff(times.asi8) == 0)
    for later in map(int, np.flatnonzero(again)):
        if not np.array_equal(values[later], values[later - 1], equal_nan=True):
            hint = "" if has_ids else "; if the file holds several series, name their id_columns"
            raise table.error(
                f"time stamp {times[later]}{f' of {block.name}' if block.name else ''} has other "
                f"values than in row {table.frame.index[rows[later - 1]]}{hint}",
                int(rows[later]),
            )
    notes.add("repeated rows dropped", block.label, int(again.sum()))
    return _Block(block.name, times[~again], values[~again], rows[~again])


def _regular(
    block: _Block,
    step: _Step,
    table: Table,
    columns: list[str],
    notes: Notes,
    required: Sequence[bool],
) -> list[Series]:
    """Put a block's rows on the grid and make one filled series of each column.

    The block's values come first, its covariates behind them; those `required` are known ahead.
    """
    values, inserted = block.values, 0
    start: pd.Timestamp | int = 0
    names = columns
    if block.name:
        names = [f"{block.name}/{c}" for c in columns] if len(columns) > 1 else [block.name]
    if not block.times.empty and step is not None:
        values, start = _on_grid(block, step, table, notes)
        inserted = len(values) - len(block.values)
        notes.add("missing time stamps inserted", block.label, inserted)
    try:
        values, beside = apart(values, len(columns), required, block.label, notes)
    except ValueError as error:
        raise table.error(f"{block.label}: {error}") from None
    made = []
    for name, column in zip(names, values.T, strict=True):
        missing = int((~np.isfinite(column)).sum())
        if missing == len(column):
            notes.add("left out, no value at all", name)
            continue
        filled, observed = fill_missing(column)
        notes.add("missing values filled", name, missing - inserted)
        if (filled == filled[0]).all():
            notes.add("constant series kept", name)
        made.append(Series(name, start, filled, observed, beside))
    return made


def _on_grid(
    block: _Block, step: pd.offsets.BaseOffset, table: Table, notes: Notes
) -> tuple[npt.NDArray[np.float64], pd.Timestamp]:
    try:
        placed = place(block.times, step)
    except ValueError as error:
        raise table.error(f"{block.label}: {error}") from None
    clash = placed.off | np.append(False, np.diff(placed.positions) == 0)
    if clash.any():
        at = int(clash.argmax())
        raise table.error(
            f"time stamp {block.times[at]} is off the regular grid of step {step.freqstr} "
            f"from {placed.start}; give another frequency, or resample the file",
            int(block.rows[at]),
        )
    notes.add("time stamps moved onto the grid", block.label, int(placed.moved.sum()))
    values = np.full((placed.length, block.values.shape[1]), np.nan)
    values[placed.positions] = block.values
    return values, placed.start
