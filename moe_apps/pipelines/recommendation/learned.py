"""What a model has to know of its training rows: vocabularies, scales, label statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.schema import CategoricalField, DenseField, Schema
from moe_apps.pipelines.recommendation.table import Codes, Table

MOST_VALUES = 1_000_000
"""Different values a vocabulary counts at most; a column with more is hashed."""

BUCKETS = 2**18


@dataclass(frozen=True)
class Spread:
    """Count, mean, standard deviation (of the population), least and largest of some numbers."""

    count: int
    mean: float
    deviation: float
    least: float
    largest: float


@dataclass(frozen=True)
class Learned:
    """What one pass over training rows found.

    Attributes:
        schema: The schema; fields with too many values for a vocabulary are `hashed` in it.
        rows: Training rows.
        vocabularies: By name of field, its values `[size]`: frequent first, then by value.
        dense: Spread of each dense field after its `transform`, missing left out.
        labels: Spread of each task's label over its own rows.
        notes: One sentence on each change to the schema.
    """

    schema: Schema
    rows: int
    vocabularies: Mapping[str, npt.NDArray[Any]]
    dense: Mapping[str, Spread]
    labels: Mapping[str, Spread]
    notes: tuple[str, ...] = ()

    def check_labels(self, source: str) -> None:
        """Raise `DataError` when a task has nothing to learn: no label, or always the same.

        Args:
            source: Where the rows are from, for the message.
        """
        for task in self.schema.tasks:
            label = self.labels[task.name]
            where = f"{source}: task {task.name}: label `{task.label}`"
            if not label.count:
                raise DataError(f"{where} is missing in all {self.rows:,} training rows")
            if label.least == label.largest:
                raise DataError(
                    f"{where} is {label.least:g} in all {label.count:,} training rows that have "
                    "it: there is nothing to learn"
                )


@dataclass
class _Moments:
    """Moments of a stream of numbers, joined batch by batch (Chan et al. 1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    least: float = np.inf
    largest: float = -np.inf

    def add(self, values: npt.NDArray[Any]) -> None:
        values = values[~np.isnan(values)].astype(np.float64)
        if not len(values):
            return
        mean = values.mean()
        step, total = mean - self.mean, self.count + len(values)
        self.squares += np.square(values - mean).sum() + step**2 * self.count * len(values) / total
        self.mean += step * len(values) / total
        self.count = total
        self.least = min(self.least, float(values.min()))
        self.largest = max(self.largest, float(values.max()))

    def spread(self) -> Spread:
        deviation = float(np.sqrt(self.squares / max(self.count, 1)))
        return Spread(self.count, float(self.mean), deviation, self.least, self.largest)


@dataclass
class _Counter:
    """How often each value of a column comes; gives up beyond `limit` different ones."""

    limit: int
    counts: dict[Any, int] = field(default_factory=dict)
    full: bool = False

    def add(self, column: Codes) -> None:
        if self.full:
            return
        counts, old = column.counts(), self.counts
        for value, count in zip(column.values.tolist(), counts.tolist(), strict=True):
            if count:
                old[value] = old.get(value, 0) + count
        if len(old) > self.limit:
            self.full, self.counts = True, {}

    def vocabulary(self, one: CategoricalField) -> npt.NDArray[Any]:
        kept = [value for value, count in self.counts.items() if count >= one.min_count]
        kept.sort(key=lambda value: (-self.counts[value], value))
        return np.array(kept[: one.size], np.int64 if one.type == "int" else object)


def transformed(one: DenseField, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """A dense column after its transform.

    Example:
        >>> transformed(DenseField(name="x", transform="log1p"), np.array([-1.0, 0.0])).round(3)
        array([-0.693,  0.   ])
    """
    return np.sign(values) * np.log1p(np.abs(values)) if one.transform == "log1p" else values


def learn(tables: Iterable[Table], schema: Schema, most_values: int | None = None) -> Learned:
    """Go once over training rows; memory is bounded however many rows there are.

    Args:
        tables: The rows, whole or in chunks.
        schema: What they mean.
        most_values: A vocabulary field with more different values than this (by default
            `MOST_VALUES`) is hashed into `size` buckets (262,144 if it has none), and a note says
            so.

    Raises:
        DataError: There are no rows.

    Example:
        >>> schema = Schema(
        ...     fields=[{"name": "film", "kind": "categorical"}],
        ...     tasks=[{"name": "like", "label": "like"}],
        ... )
        >>> film = Codes.of(np.array(["a", "b", "b", ""], object))
        >>> found = learn([Table({"film": film}, {"like": np.float32([0, 1, 1, 0])})], schema)
        >>> found.vocabularies["film"].tolist(), found.labels["like"].mean
        (['b', 'a'], 0.5)
    """
    rows = 0
    counters = {
        one.name: _Counter(most_values or MOST_VALUES)
        for one in schema.categorical
        if one.encoding == "vocabulary"
    }
    dense = {one.name: _Moments() for one in schema.dense}
    labels = {task.name: _Moments() for task in schema.tasks}
    for table in tables:
        rows += len(table)
        for one in schema.dense:
            dense[one.name].add(transformed(one, table.numbers(one.name)))
        for name, counter in counters.items():
            counter.add(table.categories(name))
        for listed in schema.sequences:
            if listed.of in counters and listed.history_of is None:
                counters[listed.of].add(table.categories(listed.name))
        for task, label in table.labels.items():
            labels[task].add(label)
    if not rows:
        raise DataError("there are no training rows")
    schema, notes = _hashed(schema, [name for name, one in counters.items() if one.full])
    return Learned(
        schema,
        rows,
        {
            one.name: counters[one.name].vocabulary(one)
            for one in schema.categorical
            if one.encoding == "vocabulary"
        },
        {name: one.spread() for name, one in dense.items()},
        {name: one.spread() for name, one in labels.items()},
        tuple(notes),
    )


def _hashed(schema: Schema, names: list[str]) -> tuple[Schema, list[str]]:
    fields, notes = [], []
    for one in schema.fields:
        if one.name in names and isinstance(one, CategoricalField):
            size = one.size or BUCKETS
            one = one.model_copy(update={"encoding": "hashed", "size": size})
            notes.append(
                f"field {one.name} has too many different values for a vocabulary: hashed into "
                f"{size:,} buckets, which bounds memory; values may share a bucket"
            )
        fields.append(one)
    return schema.model_copy(update={"fields": fields}), notes
