"""Shows what a file or folder of interactions holds, and drafts its schema."""

from __future__ import annotations

import csv as csv_module
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.column_facts import ColumnFacts, column_facts
from moe_apps.pipelines.recommendation.draft import draft_schema, kind_of, mostly_numbers
from moe_apps.pipelines.recommendation.files import (
    DataFile,
    find_files,
    first_line,
    is_parquet,
    open_file,
)
from moe_apps.pipelines.recommendation.leaks import find_leaks
from moe_apps.pipelines.recommendation.readers import CHUNK_ROWS
from moe_apps.pipelines.recommendation.roles import Roles, guess_roles
from moe_apps.pipelines.recommendation.schema import CsvFormat

LOOKED_AT = 50_000
"""Rows, from the first on, in which leaks and repeated rows are looked for."""


def inspect(path: Path) -> dict[str, Any]:
    """What is understood of a file or folder; `draft` is a schema to edit.

    All rows are read, in chunks. Numbers of different values beyond 4,096 are estimates.

    Raises:
        DataError: No file can be used, or there is no row.
    """
    files, notes = _opened(path)
    kept: list[pd.DataFrame] = []
    facts = column_facts(_batches(files, kept))
    if not facts:
        raise DataError(f"{path}: no rows in it")
    frame = pd.concat(kept, ignore_index=True)
    roles = guess_roles(facts, frame)
    binary = {name: rule for name, rule in roles.labels.items() if name not in roles.regression}
    others = (roles.user, roles.item, roles.time, roles.treatment, *roles.labels)
    columns = [name for name in facts if name not in others and not facts[name].lists]
    leaks = find_leaks(frame, binary, columns)
    left_out = {leak["column"]: f"{leak['finding']} {leak['label']}" for leak in leaks}
    notes += _notes(facts, roles, frame)
    return {
        "files": len(files),
        "rows": next(iter(facts.values())).rows,
        "columns": [_row(one, roles, left_out) for one in facts.values()],
        "leaks": leaks or "none found",
        "notes": notes,
        "draft": draft_schema(facts, roles, left_out, files[0].csv),
    }


def _opened(path: Path) -> tuple[list[DataFile], list[str]]:
    """The files with the columns of the first one that can be read, and what is left out."""
    folder = path if path.is_dir() else None
    files: list[DataFile] = []
    faults = []
    for name in find_files(path):
        try:
            file = open_file(name, _format(name), folder)
            if files and set(file.names) != set(files[0].names):
                other = sorted(set(file.names) ^ set(files[0].names))
                raise DataError(f"{name}: has other columns than {files[0].path.name}: {other[0]}")
            files.append(file)
        except DataError as error:
            faults.append(error)
    if not files:
        raise faults[0]
    return files, [f"left out: {fault}" for fault in faults]


def _format(path: Path) -> CsvFormat:
    """Separator of a text file, and names where it has no header."""
    if is_parquet(path):
        return CsvFormat()
    line = first_line(path)
    separator = max((",", "\t", ";", "|"), key=line.count)
    cells = [cell.strip() for cell in next(csv_module.reader([line], delimiter=separator), [])]
    numbers = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").notna()
    if numbers.any():  # no column is called 38
        return CsvFormat(separator=separator, columns=[f"c{place}" for place in range(len(cells))])
    return CsvFormat(separator=separator)


def _batches(
    files: list[DataFile], kept: list[pd.DataFrame]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    rows = 0
    for file in files:
        first = file.first_row
        for batch in file.batches(files[0].names, CHUNK_ROWS):
            if rows < LOOKED_AT and batch.num_rows:
                kept.append(_cells(batch.slice(0, LOOKED_AT - rows), file.csv))
                rows += batch.num_rows
            if batch.num_rows:
                yield batch, first
            first += batch.num_rows


def _cells(batch: pa.RecordBatch, csv: CsvFormat | None) -> pd.DataFrame:
    frame = batch.to_pandas()
    if csv is not None:
        frame = frame.apply(lambda column: column.str.strip())
    return frame


def _row(one: ColumnFacts, roles: Roles, left_out: dict[str, str]) -> dict[str, Any]:
    named = [
        role
        for role in ("user", "item", "time", "domain", "treatment")
        if getattr(roles, role) == one.name
    ]
    if one.name in roles.labels:
        named.append("label")
    if one.name in left_out:
        named.append("leak")
    numbers = one.numbers and one.numbers == one.filled
    return {
        "column": one.name,
        "role": ", ".join(named) or None,
        "kind": kind_of(one, roles),
        "missing": f"{one.missing / max(one.rows, 1):.1%}",
        "different": one.distinct,
        "values": f"{one.least:.10g} to {one.largest:.10g}" if numbers else ", ".join(one.examples),
    }


def _notes(facts: dict[str, ColumnFacts], roles: Roles, frame: pd.DataFrame) -> list[str]:
    notes = []
    for one in facts.values():
        if 0 < one.numbers < one.filled and one.name not in (roles.user, roles.item):
            text, row = next(iter(one.texts.items()))
            notes.append(
                f"column {one.name!r} mixes {one.numbers:,} numbers with "
                f"{one.filled - one.numbers:,} texts, the first of them {text!r} in row {row}: "
                + (
                    "taken as a number, its texts as missing"
                    if mostly_numbers(one)
                    else "taken as a category"
                )
            )
        unique = one.distinct > 1000 and one.distinct >= 0.99 * one.filled
        if unique and one.numbers < one.filled and one.name != roles.time:
            notes.append(f"column {one.name!r} has another value in (nearly) every row")
    if not roles.labels:
        notes.append("no label found: write the column or rule into the draft's task")
    flat = frame[[name for name in facts if not facts[name].lists]]
    repeated = int(flat.duplicated().sum())
    if repeated:
        notes.append(f"{repeated:,} of the first {len(frame):,} rows repeat an earlier row")
    return notes
