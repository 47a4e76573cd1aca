"""A CSV or Parquet file as a table whose index is the row number in the file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api import types

from moe_apps.errors import DataError

_PARQUET = {".parquet", ".pq"}
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")
_BLANK = {"", "na", "n/a", "nan", "null", "none", "<na>"}

ROWS_AT_ONCE = 1_000_000
"""A longer file is read in parts of as many rows, with its text as numbers of what stands there."""


@dataclass(frozen=True)
class Table:
    """A file's cells, indexed by row number as an editor shows it (a CSV's header is row 1).

    >>> table = Table(Path("a.csv"), pd.DataFrame({"x": ["1", "2", "?"]}, index=[2, 3, 4]))
    >>> table.numbers("x")
    Traceback (most recent call last):
    ...
    moe_apps.errors.DataError: a.csv: row 4, column 'x': found '?', expected a number or a blank
    """

    path: Path
    frame: pd.DataFrame

    def error(self, message: str, row: int | None = None) -> DataError:
        """A DataError that names the file and, if given, the position of the row in the frame."""
        where = "" if row is None else f" row {self.frame.index[row]}"
        return DataError(f"{self.path}:{where}{',' if row is not None else ''} {message}")

    def is_text(self, column: str) -> bool:
        """Whether a column holds text (or categories): neither numbers, booleans nor times."""
        cells = self.frame[column]
        return not (types.is_numeric_dtype(cells) or types.is_datetime64_any_dtype(cells))

    def numbers(self, column: str, required: bool = False) -> npt.NDArray[np.float64] | None:
        """A column's numbers, NaN where blank; None for a column of text, times or booleans.

        A text column of which at least half the filled cells are numbers was meant as numbers:
        its first other cell is a DataError, as is any such cell if the column is `required`.
        """
        cells = self.frame[column]
        if types.is_bool_dtype(cells) or types.is_datetime64_any_dtype(cells):
            if required:
                raise self.error(f"column '{column}' holds {cells.dtype}, expected numbers")
            return None
        if types.is_numeric_dtype(cells):
            return cells.to_numpy(np.float64, na_value=np.nan)
        text = cells.astype("string").str.strip().fillna("")
        filled = ~text.str.lower().isin(_BLANK).to_numpy(bool)
        numbers = pd.to_numeric(text.where(filled), errors="coerce")
        parsed = numbers.to_numpy(np.float64, na_value=np.nan)
        wrong = filled & np.isnan(parsed)
        if not wrong.any():
            return parsed
        if required or 2 * wrong.sum() <= filled.sum():
            row = int(wrong.argmax())
            found = text.iloc[row]
            raise self.error(
                f"column '{column}': found '{found}', expected a number or a blank", row
            )
        return None


def load_table(path: str | Path) -> Table:
    """Read a `.parquet`/`.pq` file, or any other name as CSV text.

    CSV: UTF-8, a header line, fields separated by comma, semicolon, tab or bar (the one most
    frequent in the header), and a decimal comma where the separator leaves room for one. Blank
    lines at the end are dropped; blank, NA, NaN, null and the like are missing cells.

    Raises:
        DataError: no such file, empty file, no rows under the header, a header of dates (none, or
            time runs across), not readable as a table.

    >>> load_table("nowhere.csv")
    Traceback (most recent call last):
    ...
    moe_apps.errors.DataError: nowhere.csv: no such file
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty, expected a header and rows")
    try:
        frame = _read_parquet(path) if path.suffix.lower() in _PARQUET else _read_csv(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"{path}: cannot be read as a table: {reason}") from None
    if dates := [name for name in frame.columns if _DATE.fullmatch(name)]:
        raise DataError(
            f"{path}: '{dates[0]}' stands where a column name should; expected a header line, "
            "and time running down the rows"
        )
    blank = frame.isna().all(axis=1).to_numpy()
    if blank.all():
        raise DataError(f"{path}: no rows under the header, expected at least one")
    return Table(path, frame.iloc[: len(blank) - int(blank[::-1].argmin())])


def _read_parquet(path: Path) -> pd.DataFrame:
    file = pq.ParquetFile(path)
    if file.metadata.num_rows > ROWS_AT_ONCE:
        text = [one.name for one in file.schema_arrow if _is_text(one.type)]
        table = pq.read_table(path, read_dictionary=text)
        frame = table.to_pandas(split_blocks=True, self_destruct=True)
    else:
        frame = pd.read_parquet(path)
    if frame.index.name is not None or isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index()
    frame.columns = frame.columns.astype(str)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def _read_csv(path: Path, as_text: Sequence[str] = ()) -> pd.DataFrame:
    """The file, with columns named `as_text` not taken for numbers."""
    with path.open(encoding="utf-8-sig") as file:
        header, first = file.readline(), file.readline()
    if "\0" in header + first:
        raise ValueError("it is binary")
    separator = max(",;\t|", key=header.count)
    decimal_comma = separator != "," and re.search(r"(^|[;\t|])\s*-?\d+,\d+\s*([;\t|]|$)", first)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        reader = pd.read_csv(
            path,
            sep=separator,
            decimal="," if decimal_comma else ".",
            encoding="utf-8-sig",
            index_col=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
            chunksize=ROWS_AT_ONCE,
            dtype=dict.fromkeys(as_text, "str"),
        )
        with reader:
            parts = [next(reader, pd.DataFrame())]
            for part in reader:
                parts.append(_compact(part))
    mixed = [] if as_text else _mixed(parts)
    if mixed:
        return _read_csv(path, mixed)
    frame = parts[0] if len(parts) == 1 else _joined([_compact(parts[0]), *parts[1:]])
    frame.columns = frame.columns.astype(str).str.strip()
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return frame


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _compact(part: pd.DataFrame) -> pd.DataFrame:
    """Text that repeats, such as ids and time stamps, as numbers of what stands there."""
    repeats = [
        name
        for name, cells in part.items()
        if types.is_string_dtype(cells) and 2 * cells.nunique() <= len(cells)
    ]
    return part.astype(dict.fromkeys(repeats, "category"))


def _mixed(parts: list[pd.DataFrame]) -> list[str]:
    """Columns that are numbers in one part and text in another: what looked like 1 may be 001."""
    filled = [part.dropna(axis=1, how="all") for part in parts]
    found = []
    for name in parts[0].columns:
        kinds = {types.is_numeric_dtype(part[name]) for part in filled if name in part}
        if len(kinds) > 1:
            found.append(name)
    return found


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    columns = {}
    for name in parts[0].columns:
        cells = [part[name] for part in parts]
        if all(isinstance(one.dtype, pd.CategoricalDtype) for one in cells):
            columns[name] = pd.Series(types.union_categoricals(cells))
        else:
            columns[name] = pd.concat(cells, ignore_index=True)
    return pd.DataFrame(columns)
