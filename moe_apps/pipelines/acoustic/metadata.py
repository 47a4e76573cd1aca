"""What tables beside recordings say of them: ships, sub-types, parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from moe_apps.errors import DataError

if TYPE_CHECKING:
    from moe_apps.pipelines.acoustic.recordings import Recording

COLUMNS = ("ship", "sub_type", "part", "label")
PART_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
# number, AIS type, ship, date, time, seconds, ranges
DEEPSHIP_FIELDS = 6
CLOSE_SECONDS = 1.5


class Metadata:
    """A table with a row a recording.

    Args:
        file: where it is from.
        table: with the column `recording` and any of `COLUMNS`.
    """

    def __init__(self, file: Path, table: pd.DataFrame) -> None:
        self.file = file
        self._rows: dict[str, dict[str, Any]] = {}
        known = [name for name in COLUMNS if name in table.columns]
        for key, row in zip(table["recording"], table[known].to_dict("records"), strict=True):
            self._rows[str(key)] = {
                str(name): v for name, v in row.items() if isinstance(v, str) and v
            }

    def row(self, name: str) -> dict[str, Any] | None:
        """What is said of a recording, by its path, path without suffix, file name, or stem."""
        path = Path(name)
        for key in (name, path.with_suffix("").as_posix(), path.name, path.stem):
            if key in self._rows:
                return self._rows[key]
        return None


def read_metadata(file: Path) -> Metadata:
    """Read a metadata table; see `DataSettings.metadata`.

    Raises:
        DataError: it cannot be read, has no column `recording`, names one twice, or has a part
            that is none.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as CSV: {str(error).splitlines()[0]}") from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    if "recording" not in table.columns or not set(COLUMNS) & set(table.columns):
        raise DataError(
            f"{file}: expected columns recording and any of {', '.join(COLUMNS)}; found "
            f"{', '.join(table.columns)}"
        )
    twice = table["recording"][table["recording"].duplicated()]
    if len(twice):
        row = int(twice.index[0]) + 2
        raise DataError(f"{file}: row {row} names {twice.iloc[0]!r} a second time")
    if "part" in table.columns:
        parts = table["part"].str.strip().str.lower()
        wrong = parts[~parts.isin([*PART_NAMES, ""])]
        if len(wrong):
            row = int(wrong.index[0]) + 2
            raise DataError(
                f"{file}: row {row}: part is {wrong.iloc[0]!r}, expected train, validation or test"
            )
        table["part"] = parts.map(lambda part: PART_NAMES.get(part, ""))
    return Metadata(file, table)


def deepship_ships(
    folder: Path, recordings: Sequence[Recording], notes: list[str]
) -> dict[str, str]:
    """Name of the ship of each recording that DeepShip's metafiles know.

    A class folder of DeepShip has `<class>-metafile` with rows number, AIS type, ship, date
    (YYYYMMDD), time, seconds, ranges. Numbers are given twice in one of them, so where a number
    has several rows, the date in the path or else the length of the file decides.
    """
    ships: dict[str, str] = {}
    open_ones = 0
    for metafile in sorted(folder.rglob("*metafile*")):
        if not metafile.is_file():
            continue
        rows = _deepship_rows(metafile, notes)
        label = metafile.parent.relative_to(folder).as_posix().split("/")[0]
        for one in recordings:
            if one.label != label or one.sound is None:
                continue
            ship = _deepship_match(rows, one)
            if ship is None:
                open_ones += 1
            else:
                # One name in two classes is two ships.
                ships[one.name] = f"{label}:{ship}"
    if open_ones:
        notes.append(f"metafiles: {open_ones} recordings have no row of their own: ship unknown")
    return ships


def _deepship_rows(metafile: Path, notes: list[str]) -> pd.DataFrame:
    try:
        lines = metafile.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{metafile}: cannot be read: {error.strerror}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < DEEPSHIP_FIELDS:
            if line.strip():
                notes.append(
                    f"{metafile.name}: line {number} has {len(cells)} fields, expected at least "
                    f"{DEEPSHIP_FIELDS}: left out"
                )
            continue
        if cells[0].isdigit():
            rows.append((int(cells[0]), cells[2], cells[3], _number(cells[5])))
    return pd.DataFrame(rows, columns=["number", "ship", "date", "seconds"])


def _deepship_match(rows: pd.DataFrame, one: Recording) -> str | None:
    numbers = [int(text) for text in re.findall(r"\d+", Path(one.name).stem)]
    dates = set(re.findall(r"(?<!\d)(\d{8})(?!\d)", one.name))
    found = rows[rows["number"].isin(numbers[-1:])]
    if dates:
        found = rows[rows["date"].isin(dates)]
        if len(found) > 1 and numbers:
            narrowed = found[found["number"].isin(numbers)]
            found = narrowed if len(narrowed) else found
    if len(found) > 1 and one.sound is not None:
        found = found[(found["seconds"] - one.sound.seconds).abs() < CLOSE_SECONDS]
    return str(found["ship"].iloc[0]) if found["ship"].nunique() == 1 else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
