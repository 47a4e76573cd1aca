"""CSV and Parquet files, alone or in a folder, as record batches of few rows at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.atomic_files import (
    SUFFIX as ATOMIC,
)
from moe_apps.pipelines.recommendation.atomic_files import (
    Companion,
    companions,
    plain_name,
)
from moe_apps.pipelines.recommendation.schema import CsvFormat

PARQUET = (".parquet", ".pq")
TEXT = (".csv", ".tsv", ".txt", ATOMIC)
_PACKED = (".gz", ".bz2", ".zst", ".lz4", ".brotli")
_BLOCK = 4 << 20  # bytes of text parsed at once


@dataclass(frozen=True)
class DataFile:
    """One file whose columns are known and whose rows are not read yet.

    Attributes:
        path: The file.
        names: Its columns, those of hive folders (`day=2026-01-01/`) behind.
        folders: Values of its hive folders.
        csv: How it is written; None for Parquet.
        originals: Names as the file has them, where `names` are others.
        companions: Tables that are joined to it.
    """

    path: Path
    names: tuple[str, ...]
    folders: dict[str, str] = field(default_factory=dict)
    csv: CsvFormat | None = None
    originals: dict[str, str] = field(default_factory=dict)
    companions: tuple[Companion, ...] = ()

    def check(self, columns: Sequence[str]) -> None:
        """Raise `DataError` when one of the columns is not there."""
        for column in columns:
            if column not in self.names:
                near = get_close_matches(column, self.names, 1)
                hint = f"; the nearest is {near[0]!r}" if near else ""
                raise DataError(
                    f"{self.path}: the schema names column {column!r}, which is not there{hint} "
                    f"(found {_listed(self.names)})"
                )

    @property
    def first_row(self) -> int:
        """Number of the first row of data, as an editor shows it: a header is row 1."""
        return 2 if self.csv is not None and self.csv.columns is None else 1

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The columns in batches of up to `rows` rows; text files give texts.

        Raises:
            DataError: The file cannot be parsed; names what the parser said.
        """
        added = {name: one for one in self.companions for name in one.names}
        own = [name for name in columns if name not in added and name not in self.folders]
        own += [added[name].key for name in columns if name in added]
        inside = [self.originals.get(name, name) for name in dict.fromkeys(own)]
        try:
            for batch in self._read(inside, rows):
                for start in range(0, batch.num_rows, rows):
                    yield self._completed(batch.slice(start, rows), columns, added)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: cannot be read: {_flat(error)}") from None

    def _read(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        if self.csv is None:
            with pq.ParquetFile(self.path) as file:
                yield from file.iter_batches(batch_size=rows, columns=columns)
        else:
            with _opened_text(self.path, self.csv, columns) as reader:
                yield from reader

    def _completed(
        self, batch: pa.RecordBatch, columns: Sequence[str], added: dict[str, Companion]
    ) -> pa.RecordBatch:
        shown = {original: name for name, original in self.originals.items()}
        arrays = {shown.get(name, name): batch.column(name) for name in batch.schema.names}
        for name, value in self.folders.items():
            arrays[name] = pa.array([value] * batch.num_rows, pa.string())
        for name, one in added.items():
            if name in columns:
                arrays[name] = one.column(name, arrays[one.key])
        return pa.record_batch({name: arrays[name] for name in columns})


def find_files(path: Path) -> list[Path]:
    """The data files of a path: itself, or those in a folder and its folders, by name.

    Names that begin with a dot or underscore are left out, as other tools do.

    Raises:
        DataError: There is none.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_file():
        return [path]
    known = PARQUET + TEXT
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and not any(part[0] in "._" for part in file.relative_to(path).parts)
        and _suffix(file) in known
    ]
    if not found:
        raise DataError(f"{path}: no data file in this folder, expected {', '.join(known)}")
    return found


def open_file(path: Path, csv: CsvFormat, folder: Path | None = None) -> DataFile:
    """Read a file's column names.

    Args:
        path: `.parquet`/`.pq` (also compressed inside), or text under any other name, which may
            be packed (.gz, .bz2, .zst, .lz4).
        csv: How text is written; `.tsv` and RecBole's `.inter` are separated by tabs.
        folder: Hive folders below it are columns.

    Raises:
        DataError: The file is empty or cannot be read, or two columns have one name.
    """
    folders = {}
    for part in path.parent.relative_to(folder).parts if folder else ():
        name, equals, value = part.partition("=")
        if equals:
            folders[name] = value
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    try:
        if is_parquet(path):
            made = DataFile(path, (*pq.read_schema(path).names, *folders), folders)
        else:
            if csv.separator == "," and _suffix(path) in (".tsv", ATOMIC):
                csv = csv.model_copy(update={"separator": "\t"})
            with _opened_text(path, csv, None) as reader:
                names = reader.schema.names
            if _suffix(path) == ATOMIC:
                made = _atomic(path, names, csv)
            else:
                made = DataFile(path, (*names, *folders), folders, csv)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {_flat(error)}") from None
    twice = {name for name in made.names if made.names.count(name) > 1}
    if twice:
        raise DataError(f"{path}: columns must differ, found twice: {_listed(sorted(twice))}")
    return made


def _atomic(path: Path, names: Sequence[str], csv: CsvFormat) -> DataFile:
    originals = {plain_name(name): name for name in names}
    beside = companions(path, list(originals))
    added = [name for one in beside for name in one.names]
    return DataFile(path, (*originals, *added), {}, csv, originals, beside)


def _opened_text(
    path: Path, csv: CsvFormat, columns: list[str] | None
) -> pa.csv.CSVStreamingReader:
    source = pa.input_stream(str(path), compression="detect")
    names = columns if columns is not None else csv.columns
    return pa.csv.open_csv(
        source,
        # One thread: only then an error names the row.
        read_options=pa.csv.ReadOptions(
            column_names=csv.columns, block_size=_BLOCK, use_threads=False
        ),
        parse_options=pa.csv.ParseOptions(delimiter=csv.separator, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            # All as text: what a column is, the schema says; so that an error can name the row.
            column_types=dict.fromkeys(names or (), pa.string()),
            include_columns=columns,
            strings_can_be_null=True,
            null_values=["", *csv.missing],
        ),
    )


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its name; others are text."""
    return _suffix(path) in PARQUET


def first_line(path: Path) -> str:
    """The first line of a text file, packed or not; empty if it has none that can be read."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            start = stream.read(1 << 16)
    except (pa.ArrowException, OSError):
        return ""
    return bytes(start).decode("utf-8", errors="replace").partition("\n")[0].rstrip("\r")


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _flat(error: object) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]
