"""What the columns of files hold, found in one pass in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

KEPT_HASHES = 4096
# A blank or comma is in many a title; a bar or semicolon is there to separate.
SEPARATORS = ("|", ";")
MOST_TEXTS = 3
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([ T].*)?")


@dataclass
class DistinctCount:
    """How many different values a stream has: exact up to 4,096, within about 3 % beyond.

    Keeps the smallest hashes (Bar-Yossef et al. 2002, "Counting distinct elements in a data
    stream"): with the k-th smallest of hashes in [0, 1) at h, there are about (k - 1) / h values.

    Example:
        >>> count = DistinctCount()
        >>> count.add(np.array(["a", "b", "a"], object))
        >>> count.estimate()
        2
    """

    hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take some more values in."""
        joined = np.concatenate([self.hashes, pd.util.hash_array(values)])
        self.hashes = np.unique(joined)[:KEPT_HASHES]

    def estimate(self) -> int:
        """Number of different values."""
        if len(self.hashes) < KEPT_HASHES:
            return len(self.hashes)
        return round((KEPT_HASHES - 1) / (float(self.hashes[-1]) / 2.0**64))

    def share_in(self, other: DistinctCount) -> float:
        """About what share of these values the other has too."""
        if not len(self.hashes) or not len(other.hashes):
            return 0.0
        # Beyond the largest hash that either keeps, nothing is known.
        limit = (
            min(each.hashes[-1] for each in (self, other) if len(each.hashes) >= KEPT_HASHES)
            if max(len(self.hashes), len(other.hashes)) >= KEPT_HASHES
            else np.uint64(2**64 - 1)
        )
        known = self.hashes[self.hashes <= limit]
        return float(np.isin(known, other.hashes).mean()) if len(known) else 0.0


@dataclass
class ColumnFacts:
    """What one column holds.

    Attributes:
        name: Its name.
        rows: All rows.
        missing: Rows without a value.
        numbers: Values that are numbers.
        whole: Values that are whole numbers.
        dates: Values that are dates.
        lists: Values that are lists, or texts with a separator between two parts.
        least: Smallest number.
        largest: Largest number.
        texts: Up to three different values that are no numbers, with the row of each.
        more_texts: Whether there are others.
        examples: Up to three different values.
        separator: Of texts that are lists.
        count: Counts its different values.
        parts: Counts the different values inside its lists.
    """

    name: str
    rows: int = 0
    missing: int = 0
    numbers: int = 0
    whole: int = 0
    dates: int = 0
    lists: int = 0
    least: float = np.inf
    largest: float = -np.inf
    texts: dict[str, int] = field(default_factory=dict)
    more_texts: bool = False
    examples: list[str] = field(default_factory=list)
    separator: str = "|"
    count: DistinctCount = field(default_factory=DistinctCount)
    parts: DistinctCount = field(default_factory=DistinctCount)

    @property
    def filled(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def distinct(self) -> int:
        """Different values, see `DistinctCount`."""
        return self.count.estimate()

    def add(self, array: pa.Array, first_row: int) -> None:
        """Take the column's next rows in; `first_row` is the number of the first of them."""
        self.rows += len(array)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            self.missing += array.null_count
            self.lists += len(array) - array.null_count
            flat = pc.unique(array.flatten().drop_null()).cast(pa.string())
            self.parts.add(flat.to_numpy(zero_copy_only=False))
            self._count(flat)
        elif pa.types.is_temporal(array.type):
            self.missing += array.null_count
            self.dates += len(array) - array.null_count
            self._count(array.drop_null().cast(pa.string()))
        elif pa.types.is_boolean(array.type):
            self._numeric(array.cast(pa.float64()))
        elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            self._text(array.cast(pa.string()), first_row)
        elif pa.types.is_null(array.type):
            self.missing += len(array)
        else:
            self._numeric(array.cast(pa.float64(), safe=False))

    def _numeric(self, array: pa.Array) -> None:
        values = array.to_numpy(zero_copy_only=False)
        there = values[np.isfinite(values)]
        self.missing += len(values) - len(there)
        self._numbers(there)
        self._count(pa.array(there))

    def _numbers(self, there: npt.NDArray[np.floating]) -> None:
        self.numbers += len(there)
        self.whole += int((there == np.floor(there)).sum())
        if len(there):
            self.least = min(self.least, float(there.min()))
            self.largest = max(self.largest, float(there.max()))

    def _text(self, array: pa.Array, first_row: int) -> None:
        # Every different text is looked at once, however often it comes.
        encoded = pc.utf8_trim_whitespace(array).dictionary_encode()
        values = encoded.dictionary.to_pandas().astype(object)
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        rows = np.bincount(codes[codes >= 0], minlength=len(values))
        blank = (values == "").to_numpy(bool)
        self.missing += int((codes < 0).sum() + rows[blank].sum())
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        numeric = np.isfinite(numbers)
        self._numbers(np.repeat(numbers[numeric], rows[numeric]))
        words = ~numeric & ~blank
        for code in np.flatnonzero(words):
            text = str(values[code])
            if text not in self.texts:
                if len(self.texts) >= MOST_TEXTS:
                    self.more_texts = True
                    break
                self.texts[text] = first_row + int((codes == code).argmax())
        dates = values[words].str.fullmatch(_DATE).to_numpy(bool)
        self.dates += int(rows[words][dates].sum())
        for sign in SEPARATORS:
            split = values[words].str.contains(sign, regex=False).to_numpy(bool)
            if split.any():
                self.separator = sign
                self.lists += int(rows[words][split].sum())
                parts = values[words].str.split(sign).explode().dropna().unique()
                self.parts.add(np.asarray(parts, object))
                break
        self._count(pa.array(values[~blank], pa.string()))

    def _count(self, values: pa.Array) -> None:
        distinct = pc.unique(values)
        if not len(distinct):
            return
        for value in distinct[: 3 - len(self.examples)].to_pylist() if self._wants() else ():
            text = _shown(value)
            if text not in self.examples:
                self.examples.append(text)
        texts = [number_text(value) for value in distinct.to_pylist()]
        self.count.add(np.array(texts, object))

    def _wants(self) -> bool:
        return len(self.examples) < 3


def column_facts(batches: Iterator[tuple[pa.RecordBatch, int]]) -> dict[str, ColumnFacts]:
    """Facts of every column of record batches, each with the number of its first row."""
    facts: dict[str, ColumnFacts] = {}
    for batch, first in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            facts.setdefault(name, ColumnFacts(name)).add(column, first)
    return facts


def number_text(value: Any) -> str:
    """A value as the readers would write it: 3.0 is 3.

    Example:
        >>> number_text(3.0), number_text("a")
        ('3', 'a')
    """
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _shown(value: Any) -> str:
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
