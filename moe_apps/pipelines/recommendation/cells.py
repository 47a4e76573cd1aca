"""Cells of a file's column into numbers, times, categories or lists; a wrong one is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.schema import CsvFormat
from moe_apps.pipelines.recommendation.table import ABSENT, Codes

_TRUTH = {"true": 1.0, "false": 0.0}
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Cells:
    """Some rows of one column.

    Attributes:
        array: The cells; texts, where the file is text.
        column: Name of the column.
        csv: How text is written; None for Parquet, whose texts are taken as they are.
        error: Makes the error of a message and, if given, the position of a row in `array`.
    """

    array: pa.Array
    column: str
    csv: CsvFormat | None
    error: Callable[[str, int | None], DataError]

    def numbers(self) -> npt.NDArray[np.float64]:
        """Numbers `[rows]`, NaN where missing or infinite; true and false are 1 and 0."""
        array = self.array
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_temporal(array.type) or pa.types.is_nested(array.type):
            raise self.error(f"holds {array.type}, expected numbers", None)
        if _is_text(array.type):
            return self._parsed(self._trimmed(array))
        values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(values), values, np.nan)

    def _parsed(self, texts: pa.Array) -> npt.NDArray[np.float64]:
        try:
            values = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            series = texts.to_pandas()
            truth = series.str.lower().map(_TRUTH)
            values = pd.to_numeric(series, errors="coerce").fillna(truth).to_numpy(np.float64)
            wrong = np.isnan(values) & series.notna().to_numpy()
            nan = series[wrong].str.lower().str.lstrip("+-").isin(["nan", "inf", "infinity"])
            wrong[np.flatnonzero(wrong)[nan.to_numpy(bool)]] = False
            if wrong.any():
                row = int(wrong.argmax())
                found = _short(series.iloc[row])
                raise self.error(f"found {found}, expected a number", row) from None
        return np.where(np.isfinite(values), values, np.nan)

    def times(self) -> npt.NDArray[np.float64]:
        """Numbers as they are, dates as seconds since 1970 (UTC where no zone is given)."""
        array = self.array
        if pa.types.is_date(array.type):
            array = array.cast(pa.timestamp("s"))
        if pa.types.is_timestamp(array.type):
            nanoseconds = array.cast(pa.timestamp("ns", array.type.tz), safe=False)
            whole = nanoseconds.cast(pa.int64()).cast(pa.float64(), safe=False)
            return whole.to_numpy(zero_copy_only=False) / 1e9
        if not _is_text(array.type):
            return self.numbers()
        texts = self._trimmed(array)
        try:
            return self._parsed(texts)
        except DataError:
            series = texts.to_pandas()
        stamps = pd.to_datetime(series, errors="coerce", utc=True, format="ISO8601")
        wrong = (stamps.isna() & series.notna()).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise self.error(
                f"found {_short(series.iloc[row])}, expected a number or a date such as "
                "2026-01-31 23:59",
                row,
            )
        seconds = (stamps - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
        return seconds.to_numpy(np.float64)

    def categories(self, whole_numbers: bool = False, separator: str | None = None) -> Codes:
        """Categories `[rows]`: texts, or with `whole_numbers` int64 of at least 0.

        With a separator, cells are lists of which the first value is taken.
        """
        if separator is None:
            return self._codes(self.array, whole_numbers, None)
        array = self._lists(separator)
        some = pc.greater(pc.list_value_length(array), 0)
        nothing = pa.scalar(None, array.type.value_type)
        filled = pc.if_else(some, array, pa.array([[nothing]], array.type)[0])
        return self._codes(pc.list_element(filled, 0), whole_numbers, None)

    def _lists(self, separator: str) -> pa.Array:
        array = self.array
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            return array
        return pc.split_pattern(_as_text(array), separator)

    def sequences(self, separator: str, max_length: int, whole_numbers: bool = False) -> Codes:
        """The last `max_length` values of each list, `[rows, max_length]`, padded behind."""
        array = self._lists(separator)
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        lengths = lengths.astype(np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        values = self._codes(array.flatten(), whole_numbers, rows)
        # A missing value inside a list is left out; what stands behind it moves up.
        present = values.present
        rows, flat = rows[present], values.codes[present]
        counts = np.bincount(rows, minlength=len(lengths))
        ends = np.cumsum(counts)
        from_end = ends[rows] - np.arange(len(rows))  # 1 for the last of a list
        kept = from_end <= max_length
        places = np.minimum(counts[rows], max_length) - from_end
        codes = np.full((len(lengths), max_length), ABSENT, np.int32)
        codes[rows[kept], places[kept]] = flat[kept]
        return Codes(codes, values.values)

    def _codes(
        self, array: pa.Array, whole_numbers: bool, rows: npt.NDArray[np.int64] | None
    ) -> Codes:
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        codes = encoded.indices.fill_null(ABSENT).to_numpy(zero_copy_only=False)
        distinct = encoded.dictionary
        if pa.types.is_nested(distinct.type):
            raise self.error(f"holds {distinct.type}, expected single values", None)

        def complain(message: str, position: int) -> DataError:
            where = int((codes == position).argmax())
            return self.error(message, int(rows[where]) if rows is not None else where)

        values = (
            self._whole(distinct, complain) if whole_numbers else self._trimmed(_as_text(distinct))
        )
        # Texts that only blanks told apart are one now, and the empty one is missing.
        new, kept = pd.factorize(values.to_numpy(zero_copy_only=False))
        recoded = np.append(new, ABSENT).astype(np.int32)[codes]
        return Codes(recoded, np.asarray(kept, np.int64 if whole_numbers else object))

    def _whole(self, distinct: pa.Array, complain: Callable[[str, int], DataError]) -> pa.Array:
        if _is_text(distinct.type):
            distinct = self._trimmed(distinct)
        try:
            if pa.types.is_boolean(distinct.type):
                distinct = distinct.cast(pa.int8())
            numbers = distinct.cast(pa.int64())
        except pa.ArrowInvalid:
            for position, value in enumerate(distinct.to_pylist()):
                if value is not None and not _is_whole(value):
                    raise complain(
                        f"found {_short(value)}, expected a whole number of at least 0 "
                        "(or set the field's type to string)",
                        position,
                    ) from None
            # Whole numbers that a table with gaps has as 3.0, NaN.
            parsed = [_integer(value) for value in distinct.to_pylist()]
            numbers = pa.array(parsed, pa.int64())
        low = pc.less(numbers, 0).fill_null(False).to_numpy(zero_copy_only=False)
        if low.any():
            raise complain(
                f"found {numbers[int(low.argmax())]}, expected a whole number of at least 0 "
                "(or set the field's type to string)",
                int(low.argmax()),
            )
        return numbers

    def _trimmed(self, texts: pa.Array) -> pa.Array:
        texts = texts.cast(pa.string())
        missing = [""]
        if self.csv is not None:
            texts = pc.utf8_trim_whitespace(texts) if self.csv.strip else texts
            missing += self.csv.missing
        blank = pc.is_in(texts, value_set=pa.array(missing))
        return pc.if_else(blank, pa.scalar(None, pa.string()), texts)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _as_text(array: pa.Array) -> pa.Array:
    if _is_text(array.type):
        return array
    if pa.types.is_floating(array.type):
        # 3.0 in a table with gaps is the 3 of a table without.
        values = array.to_pylist()
        return pa.array([_number_text(value) for value in values], pa.string())
    return array.cast(pa.string())


def _number_text(value: float | None) -> str | None:
    if value is None or value != value:
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def _is_whole(value: Any) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return number != number or (number.is_integer() and 0 <= number <= _LARGEST)


def _integer(value: Any) -> int | None:
    return None if value is None or float(value) != float(value) else int(float(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
