"""Tables from text files as they are found: NUL bytes, thousands commas, spaces or commas."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from moe_apps.errors import DataError

MOST_BAD_ROWS = 0.01
"""Share of rows without numbers up to which they are dropped; more is an error."""


def header(path: Path) -> list[str]:
    """Return the column names of a CSV file, or an empty list where its first line is numbers."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(1_000_000).replace("\0", "").strip()
    if not line:
        raise DataError(f"{path}: is empty, expected a table of tracks")
    names = [name.strip() for name in next(csv.reader([line]))]
    return [] if re.match(r"[-+.\d]", names[0]) else names


def read_csv(
    path: Path,
    format: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    text: Iterable[str] = (),
) -> tuple[pd.DataFrame, list[str]]:
    """Read named columns of a CSV file with a header, whatever the case of its names.

    Args:
        path: the file.
        format: its name for messages.
        required: columns that must be there.
        optional: columns that are read if they are there.
        aliases: other spellings, each with the name that is used for it.
        text: those of the columns that hold no numbers.

    Returns:
        The columns under the names asked for, and notes on what was dropped.

    Raises:
        DataError: A column is missing, or too many rows hold no numbers.
    """
    wanted = {name.lower(): name for name in (*required, *optional)}
    wanted |= {other.lower(): name for other, name in (aliases or {}).items()}
    found = header(path)
    columns: dict[str, str] = {}
    for name in found:
        known = wanted.get(name.lower())
        if known and known not in columns.values():
            columns[name] = known
    missing = [name for name in required if name not in columns.values()]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}, which {format} tracks have; found "
            f"{', '.join(found[:12]) or 'no header line'}{', ...' if len(found) > 12 else ''}"
        )
    table, notes = _parse(path, sep=",", usecols=list(columns), skipinitialspace=True)
    table = table.rename(columns=columns)
    return _numbers(table, path, set(columns.values()) - set(text), notes)


def read_numbers(path: Path, names: Sequence[str], format: str) -> tuple[pd.DataFrame, list[str]]:
    """Read a file of numbers without a header, separated by spaces, tabs or commas.

    Raises `DataError` when it has another number of columns than there are `names`.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(1_000_000).replace("\0", "").strip()
    separator = "," if re.search(r",\s", line) is None and line.count(",") >= len(names) - 1 else ""
    count = len(line.split(separator or None))
    if count != len(names):
        raise DataError(
            f"{path}: {count} columns in line 1, expected the {len(names)} of {format} tracks: "
            f"{', '.join(names)}"
        )
    table, notes = _parse(path, sep=separator or r"\s+", header=None, names=list(names))
    return _numbers(table, path, set(names), notes)


class _WithoutNul:
    """A text file whose NUL characters are left out and counted."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.count = file, 0

    def read(self, size: int = -1) -> str:
        text = self.file.read(size)
        while text:
            clean = text.replace("\0", "")
            self.count += len(text) - len(clean)
            if clean:
                return clean
            text = self.file.read(size)
        return ""

    def __iter__(self) -> _WithoutNul:
        return self

    def __next__(self) -> str:
        line = self.file.readline()
        if not line:
            raise StopIteration
        self.count += line.count("\0")
        return line.replace("\0", "")


def _parse(path: Path, **options: Any) -> tuple[pd.DataFrame, list[str]]:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        clean = _WithoutNul(file)
        try:
            table = pd.read_csv(clean, thousands=",", low_memory=False, **options)  # type: ignore[call-overload]
        except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
            reason = str(error).replace("\n", " ").replace("Error tokenizing data. C error: ", "")
            raise DataError(f"{path}: is no table that can be read: {reason}") from None
    notes = [f"{path.name}: {clean.count} NUL bytes left out"] if clean.count else []
    if table.empty:
        raise DataError(f"{path}: has no rows, expected a table of tracks")
    return table, notes


def _numbers(
    table: pd.DataFrame, path: Path, columns: Iterable[str], notes: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    bad = pd.Series(False, index=table.index)
    example = ""
    for column in sorted(columns):
        values = table[column]
        if pd.api.types.is_numeric_dtype(values):
            continue
        as_text = values.astype("str").str.strip()
        # Where a field is quoted, thousands commas stay in it.
        numbers = pd.to_numeric(
            as_text.str.replace(r"(?<=\d),(?=\d{3})", "", regex=True), errors="coerce"
        )
        wrong = numbers.isna() & values.notna() & ~as_text.str.lower().isin(["", "nan", "na"])
        if wrong.any() and not example:
            row = int(wrong.to_numpy().argmax())
            example = f"row {row + 1}, column {column!r}: {as_text.iloc[row]!r}"
        bad |= wrong
        table[column] = numbers
    count = int(bad.sum())
    if count > MOST_BAD_ROWS * len(table) + 1:
        raise DataError(f"{path}: {count} of {len(table)} rows hold no numbers, first {example}")
    if count:
        table = table[~bad].reset_index(drop=True)
        notes = [*notes, f"{path.name}: {count} rows dropped, they hold no numbers ({example})"]
    return table, notes
