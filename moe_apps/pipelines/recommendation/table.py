"""Rows of interactions in memory, or a chunk of a larger file: columns by field, labels by task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice

ROLES = ("user", "item", "time", "domain", "treatment")
ABSENT = -1
"""Code of a missing value, and of padding behind a sequence."""


@dataclass(frozen=True)
class Codes:
    """Categories, each different value kept once.

    Looking values up (in a vocabulary, by a hash) is then done once a value, not once a row:
    `np.append(lookup(codes.values), 0)[codes.codes]`, where code -1 takes the appended "missing".

    Attributes:
        codes: int32 `[rows]`, or `[rows, max_length]` for sequences: position in `values`, or -1
            for missing and padding.
        values: Different values: `[distinct]` of str (object), or int64 of at least 0.

    Example:
        >>> column = Codes.of(np.array(["b", None, "b"], object))
        >>> column.codes.tolist(), column.values.tolist(), column.raw().tolist()
        ([0, -1, 0], ['b'], ['b', '', 'b'])
    """

    codes: npt.NDArray[np.int32]
    values: npt.NDArray[Any]

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Codes:
        """Codes of texts (None, NaN and "" are missing) or whole numbers (negative is missing)."""
        import pandas as pd

        flat = values.reshape(-1)
        if flat.dtype.kind in "iu":
            codes, distinct = pd.factorize(np.where(flat < 0, ABSENT, flat))
            numbers = np.asarray(distinct, np.int64)
        else:
            codes, distinct = pd.factorize(_none_if_blank(flat))
            numbers = np.asarray(distinct, object)
        made = cls(codes.astype(np.int32).reshape(values.shape), numbers)
        return made._without(ABSENT) if numbers.dtype.kind == "i" else made

    def _without(self, value: int) -> Codes:
        keep = self.values != value
        new = np.append(np.where(keep, np.cumsum(keep) - 1, ABSENT), ABSENT).astype(np.int32)
        return Codes(new[self.codes], self.values[keep])

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Rows) -> Codes:
        return Codes(self.codes[rows], self.values)

    def raw(self) -> npt.NDArray[Any]:
        """The values themselves, shaped as `codes`: "" or -1 where there is none."""
        absent = ABSENT if self.values.dtype.kind == "i" else ""
        return np.append(self.values, np.array([absent], self.values.dtype))[self.codes]

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Where there is a value, shaped as `codes`."""
        return self.codes != ABSENT

    def counts(self) -> npt.NDArray[np.int64]:
        """How often each of `values` comes, `[distinct]`."""
        return np.bincount(self.codes[self.present], minlength=len(self.values))

    @classmethod
    def concatenate(cls, parts: Sequence[Codes]) -> Codes:
        """One after the other; values that several have are kept once."""
        import pandas as pd

        values = np.concatenate([part.values for part in parts])
        merged, distinct = pd.factorize(values)
        starts = np.cumsum([0, *(len(part.values) for part in parts)])
        codes = [
            np.append(merged[start : start + len(part.values)], ABSENT)[part.codes]
            for start, part in zip(starts[:-1], parts, strict=True)
        ]
        return cls(np.concatenate(codes).astype(np.int32), np.asarray(distinct, values.dtype))


Column = FloatArray | Codes


@dataclass(frozen=True)
class Table:
    """Rows of data as a schema describes them.

    Attributes:
        columns: By name of field: float32 `[rows]` with NaN for missing (dense), `Codes` `[rows]`
            (categorical) or `Codes` `[rows, max_length]` (sequences, padded behind).
        labels: By name of task, float32 `[rows]`; NaN where the row is not one of that task's.
        user: User ids, where the schema names their column; rows without one are missing (-1),
            and are no user together.
        item: Item ids, likewise.
        time: float64 `[rows]`, seconds since 1970 for dates; NaN where missing.
        domain: Domain of each row, likewise.
        treatment: Treatment of each row; the control is one of its values.
        notes: One sentence each on what was found in the file.
    """

    columns: Mapping[str, Column]
    labels: Mapping[str, FloatArray] = field(default_factory=dict)
    user: Codes | None = None
    item: Codes | None = None
    time: npt.NDArray[np.float64] | None = None
    domain: Codes | None = None
    treatment: Codes | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter((*self.columns.values(), *self.labels.values()))))

    def numbers(self, name: str) -> FloatArray:
        """The column of a dense field, `[rows]`."""
        column = self.columns[name]
        assert not isinstance(column, Codes)
        return column

    def categories(self, name: str) -> Codes:
        """The column of a categorical or sequence field."""
        column = self.columns[name]
        assert isinstance(column, Codes)
        return column

    def take(self, rows: Rows) -> Table:
        """The rows of a mask, of numbers, or of a slice.

        Example:
            >>> table = Table({"age": np.array([3, 4, 5], np.float32)})
            >>> table.take(np.array([2, 0])).columns["age"]
            array([5., 3.], dtype=float32)
        """
        return Table(
            {name: column[rows] for name, column in self.columns.items()},
            {name: label[rows] for name, label in self.labels.items()},
            notes=self.notes,
            **{role: value[rows] for role, value in self._roles().items()},
        )

    def with_columns(self, columns: Mapping[str, Column]) -> Table:
        """The same with columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def _roles(self) -> dict[str, Any]:
        roles = {role: getattr(self, role) for role in ROLES}
        return {role: value for role, value in roles.items() if value is not None}

    @classmethod
    def concatenate(cls, parts: Sequence[Table]) -> Table:
        """One after the other; all have to have the same columns."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return cls(
            {name: _joined([part.columns[name] for part in parts]) for name in first.columns},
            {name: _joined([part.labels[name] for part in parts]) for name in first.labels},
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            **{role: _joined([getattr(part, role) for part in parts]) for role in first._roles()},
        )

    def digest(self) -> str:
        """SHA-256 of all values, in their order; the notes are left out."""
        content = hashlib.sha256()
        named = {
            **self.columns,
            **{f"label {name}": label for name, label in self.labels.items()},
            **self._roles(),
        }
        for name, column in named.items():
            content.update(f"\n{name}\n".encode())
            if isinstance(column, Codes):
                content.update("\n".join(map(str, column.values)).encode())
                content.update(np.ascontiguousarray(column.codes, "<i4").tobytes())
            else:
                content.update(np.ascontiguousarray(column).tobytes())
        return content.hexdigest()


def _joined(parts: Sequence[Any]) -> Any:
    return Codes.concatenate(parts) if isinstance(parts[0], Codes) else np.concatenate(parts)


def _none_if_blank(texts: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    made = texts.astype(object)
    made[made == ""] = None
    return made
