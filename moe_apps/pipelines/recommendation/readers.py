"""Reads CSV and Parquet data as a schema says: whole, or chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.cells import Cells
from moe_apps.pipelines.recommendation.files import DataFile, find_files, open_file
from moe_apps.pipelines.recommendation.schema import (
    CategoricalField,
    DenseField,
    Schema,
    SequenceField,
    Task,
)
from moe_apps.pipelines.recommendation.table import ABSENT, Codes, Column, Table

CHUNK_ROWS = 65_536


@dataclass(frozen=True)
class Source:
    """Files that a schema fits, ready to be read as often as one likes.

    Attributes:
        path: What was asked for.
        schema: What the columns mean.
        files: Files that can be used.
        labels: Whether the columns of labels, treatment, time and domain are read.
        notes: One sentence on each file that is left out.
    """

    path: Path
    schema: Schema
    files: tuple[DataFile, ...]
    labels: bool = True
    notes: tuple[str, ...] = field(default=())

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Table]:
        """Chunks of up to `rows` rows, file by file; memory does not grow with the files.

        Raises:
            DataError: A cell that the schema does not allow; names file, row and column.
        """
        columns = self.schema.columns(self.labels)
        for file in self.files:
            first = file.first_row
            for batch in file.batches(columns, rows):
                if batch.num_rows:
                    yield _table(batch, file, first, self.schema, self.labels)
                first += batch.num_rows


def open_source(
    path: str | Path, schema: Schema, *, labels: bool = True, strict: bool = False
) -> Source:
    """Find the files of a path and check their columns; no rows are read.

    Args:
        path: A file, or a folder of files (see `files.find_files`).
        schema: What the columns mean.
        labels: Whether labels, treatment, time and domain have to be there.
        strict: Whether a file that cannot be used is an error; otherwise it is left out with a
            note, as long as another one can be used.

    Raises:
        DataError: No file can be used; names the first one and its fault.
    """
    folder = Path(path)
    files, faults = [], []
    for name in find_files(folder):
        try:
            file = open_file(name, schema.csv, folder if folder.is_dir() else None)
            file.check(schema.columns(labels))
            files.append(file)
        except DataError as error:
            if strict:
                raise
            faults.append(error)
    if not files:
        more = f" (and {len(faults) - 1} more files that cannot be used)" if faults[1:] else ""
        raise DataError(f"{faults[0]}{more}")
    notes = tuple(f"left out: {fault}" for fault in faults)
    return Source(folder, schema, tuple(files), labels, notes)


def stream(
    path: str | Path, schema: Schema, *, labels: bool = True, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Table]:
    """Read files chunk by chunk; see `open_source` and `Source.chunks`.

    Example:
        >>> rows = sum(len(chunk) for chunk in stream("logs/", schema))  # doctest: +SKIP
    """
    return open_source(path, schema, labels=labels).chunks(chunk_rows)


def read(path: str | Path, schema: Schema, *, labels: bool = True, strict: bool = False) -> Table:
    """Read files whole.

    Args:
        path: A file, or a folder of files.
        schema: What the columns mean.
        labels: Whether labels, treatment, time and domain are read; False for data to answer for.
        strict: Whether a file that cannot be used is an error.

    Raises:
        DataError: No file can be used, there is no row, or a cell is not what the schema says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "clicks.csv"
        >>> _ = path.write_text("age,film,rating\\n30,Alien,5\\n,Brazil,2\\n")
        >>> table = read(path, Schema(
        ...     fields=[{"name": "age", "kind": "dense"}, {"name": "film", "kind": "categorical"}],
        ...     tasks=[{"name": "like", "label": "rating >= 4"}],
        ... ))
        >>> table.columns["age"].tolist(), table.labels["like"].tolist()
        ([30.0, nan], [1.0, 0.0])
    """
    source = open_source(path, schema, labels=labels, strict=strict)
    chunks = list(source.chunks())
    if not chunks:
        raise DataError(f"{path}: no rows in {_files(source)}")
    table = Table.concatenate(chunks)
    return Table(**{**vars(table), "notes": (*source.notes, *table.notes)})


def from_frame(frame: pd.DataFrame, schema: Schema, *, labels: bool = True) -> Table:
    """The rows of a data frame, as if it had been read from a Parquet file.

    Raises:
        DataError: A column is missing, or a cell is not what the schema says.

    Example:
        >>> schema = Schema(
        ...     fields=[{"name": "age", "kind": "dense"}], tasks=[{"name": "buy", "label": "buy"}]
        ... )
        >>> len(from_frame(pd.DataFrame({"age": [30, 40], "buy": [1, 0]}), schema))
        2
    """
    if frame.empty:
        raise DataError("data frame: no rows in it")
    return from_batch(
        pa.RecordBatch.from_pandas(frame, preserve_index=False), schema, labels=labels
    )


def from_batch(batch: pa.RecordBatch, schema: Schema, *, labels: bool = True) -> Table:
    """The rows of an Arrow record batch; see `from_frame`."""
    file = DataFile(Path("data frame"), tuple(batch.schema.names))
    file.check(schema.columns(labels))
    return _table(batch, file, 1, schema, labels)


def _files(source: Source) -> str:
    count = len(source.files)
    return "it" if source.path.is_file() else f"its {count} file{'s' if count != 1 else ''}"


def _table(
    batch: pa.RecordBatch, file: DataFile, first: int, schema: Schema, labels: bool
) -> Table:
    def cells(column: str) -> Cells:
        def error(message: str, row: int | None) -> DataError:
            where = "" if row is None else f"row {first + row}, "
            return DataError(f"{file.path}: {where}column {column!r}: {message}")

        return Cells(batch.column(column), column, file.csv, error)

    columns: dict[str, Column] = {}
    types = {one.name: one.type for one in schema.categorical}
    for one in schema.fields:
        if isinstance(one, DenseField):
            columns[one.name] = cells(one.column).numbers().astype(np.float32)
        elif isinstance(one, CategoricalField):
            columns[one.name] = cells(one.column).categories(one.type == "int", one.separator)
        elif one.history_of is None:
            whole = types[one.of] == "int"
            columns[one.name] = cells(one.column).sequences(one.separator, one.max_length, whole)
        else:
            columns[one.name] = _no_history(one, batch.num_rows, types[one.of])
    ids: dict[str, Any] = {
        role: cells(column).categories()
        for role in (("user", "item", "domain") if labels else ("user", "item"))
        if (column := getattr(schema, role)) is not None
    }
    if labels and schema.time is not None:
        ids["time"] = cells(schema.time).times()
    if labels and schema.treatment is not None:
        ids["treatment"] = cells(schema.treatment.column).categories()
    tasks = {task.name: _label(task, cells) for task in schema.tasks} if labels else {}
    return Table(columns, tasks, **ids)


def _no_history(one: SequenceField, rows: int, kind: str) -> Codes:
    values = np.empty(0, np.int64 if kind == "int" else object)
    return Codes(np.full((rows, one.max_length), ABSENT, np.int32), values)


def _label(task: Task, cells: Any) -> npt.NDArray[np.float32]:
    rule = task.rule
    of = cells(rule.column)
    if rule.numeric:
        values: pd.Series = pd.Series(of.numbers())
    else:
        codes = of.categories()
        values = pd.Series(np.where(codes.present, codes.raw(), None), dtype=object)
    label = rule.apply(values)
    if task.kind == "binary" and not rule.sign:
        wrong = ~np.isin(label, (0, 1)) & ~np.isnan(label)
        if wrong.any():
            row = int(wrong.argmax())
            raise of.error(
                f"label of task {task.name} is {label[row]:g}, expected 0 or 1 (or a rule such as "
                f"`{rule.column} >= {label[row]:g}`, or kind: regression)",
                row,
            )
    if task.mask:
        counted = cells(task.mask).numbers()
        label = np.where(np.nan_to_num(counted) > 0, label, np.nan).astype(np.float32)
    return label
