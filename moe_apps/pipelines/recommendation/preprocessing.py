"""From columns to the model's arrays: indices of categories, standardised numbers, targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.models.recommendation import Categorical, Fields, History, TaskSpec
from moe_apps.pipelines.atomic_files import read_json, write_json
from moe_apps.pipelines.recommendation.learned import Learned, transformed
from moe_apps.pipelines.recommendation.schema import (
    MISSING,
    UNKNOWN,
    CategoricalField,
    Schema,
    default_dimension,
)
from moe_apps.pipelines.recommendation.table import Codes, Table

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Preprocessing:
    """What turns raw columns into a model's inputs, kept with the run.

    Attributes:
        schema: What the columns mean.
        vocabularies: By name of field, its values `[size]`; the first has index 2.
        scales: By name of dense field (after its transform), mean and deviation of training rows.
        targets: By name of regression task, mean and deviation of its training labels.
        treatments: Treatments, the control first; empty without a treatment column.
        dimension: Length of the categories' vectors where the schema gives none; None takes
            `schema.default_dimension`.
    """

    schema: Schema
    vocabularies: Mapping[str, npt.NDArray[Any]]
    scales: Mapping[str, tuple[float, float]]
    targets: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    treatments: tuple[str, ...] = ()
    dimension: int | None = None

    @classmethod
    def of(
        cls, learned: Learned, treatments: tuple[str, ...] = (), dimension: int | None = None
    ) -> Preprocessing:
        """From what one pass over the training rows found."""

        def scale(spread: Any) -> tuple[float, float]:
            mean = spread.mean if spread.count else 0.0
            return float(mean), float(spread.deviation) or 1.0

        regression = [task.name for task in learned.schema.tasks if task.kind == "regression"]
        return cls(
            learned.schema,
            learned.vocabularies,
            {name: scale(spread) for name, spread in learned.dense.items()},
            {name: scale(learned.labels[name]) for name in regression},
            treatments,
            dimension,
        )

    def fields(self) -> Fields:
        """The model's inputs."""
        categorical = [
            Categorical(one.name, size, one.dimension or self.dimension or default_dimension(size))
            for one in self.schema.categorical
            for size in [one.table_size(len(self.vocabularies.get(one.name, ())))]
        ]
        return Fields(
            tuple(one.name for one in self.schema.dense),
            tuple(categorical),
            tuple(History(one.name, one.of, one.max_length) for one in self.schema.sequences),
        )

    def tasks(self) -> list[TaskSpec]:
        """The model's outputs."""
        return [TaskSpec(task.name, task.kind, task.group) for task in self.schema.tasks]

    def inputs(self, table: Table) -> Arrays:
        """The model's inputs, by name; see `Fields.inputs`."""
        arrays: Arrays = {}
        fields = {one.name: one for one in self.schema.categorical}
        if fields:
            columns = [self._indices(one, table.columns[name]) for name, one in fields.items()]
            arrays["categorical"] = np.stack(columns, axis=1)
        if self.schema.dense:
            arrays["dense"] = np.stack(
                [self._standardised(one, table.columns[one.name]) for one in self.schema.dense],
                axis=1,
            )
        for one in self.schema.sequences:
            arrays[f"sequence_{one.name}"] = self._indices(fields[one.of], table.columns[one.name])
        return arrays

    def user(self, table: Table) -> npt.NDArray[np.int32]:
        """Numbers that tell users of a table apart, -1 for unknown ones."""
        return table.user.codes if table.user is not None else np.full(len(table), -1, np.int32)

    def treatment(self, table: Table) -> npt.NDArray[np.int32]:
        """Numbers of treatments, 0 for the control, -1 where it is missing or not known."""
        assert table.treatment is not None
        known = pd.Index(self.treatments).get_indexer(pd.Index(table.treatment.values))
        return np.append(known, -1).astype(np.int32)[table.treatment.codes]

    def labels(self, table: Table) -> Arrays:
        """Targets of each task, float32 `[rows]`, regression standardised; NaN where none."""
        made = {}
        for task in self.schema.tasks:
            label = table.labels[task.name]
            mean, deviation = self.targets.get(task.name, (0.0, 1.0))
            made[task.name] = ((label - mean) / deviation).astype(np.float32)
            if self.treatments:
                made[task.name] = np.where(self.treatment(table) < 0, np.nan, made[task.name])
        return made

    def in_units(self, task: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A model's answers of a task in the units of its label."""
        mean, deviation = self.targets.get(task, (0.0, 1.0))
        return values * deviation + mean

    def _standardised(self, one: Any, values: Any) -> npt.NDArray[np.float32]:
        mean, deviation = self.scales[one.name]
        scaled = (transformed(one, values.astype(np.float64)) - mean) / deviation
        # Infinities are no measurements either.
        return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.float32)

    def _indices(self, one: CategoricalField, column: Any) -> npt.NDArray[np.int32]:
        assert isinstance(column, Codes)
        known = self._look_up(one, column.values)
        return np.append(known, MISSING).astype(np.int32)[column.codes]

    def _look_up(self, one: CategoricalField, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not len(values):
            return np.empty(0, np.int64)
        if one.encoding == "hashed":
            import tensorflow as tf

            texts = tf.constant([str(value) for value in values])
            return tf.strings.to_hash_bucket_fast(texts, one.size).numpy() + one.reserved
        if one.encoding == "integer":
            numbers = values.astype(np.int64)
            return np.where(numbers < (one.size or 0), numbers + one.reserved, UNKNOWN)
        place = pd.Index(self.vocabularies[one.name]).get_indexer(pd.Index(values))
        return np.where(place < 0, UNKNOWN, place + one.reserved)

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        write_json(
            file,
            {
                "schema": self.schema.model_dump(mode="json"),
                "vocabularies": {name: list(v) for name, v in self.vocabularies.items()},
                "scales": self.scales,
                "targets": self.targets,
                "treatments": self.treatments,
                "dimension": self.dimension,
            },
        )

    @classmethod
    def load(cls, file: Path) -> Preprocessing:
        """Read what `save` wrote."""
        content = read_json(file)
        schema = Schema.model_validate(content["schema"])
        types = {one.name: one.type for one in schema.categorical}
        return cls(
            schema,
            {
                name: np.array(values, np.int64 if types[name] == "int" else object)
                for name, values in content["vocabularies"].items()
            },
            {name: (mean, scale) for name, (mean, scale) in content["scales"].items()},
            {name: (mean, scale) for name, (mean, scale) in content["targets"].items()},
            tuple(content["treatments"]),
            content["dimension"],
        )
