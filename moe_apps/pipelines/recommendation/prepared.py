"""Data ready for training and judgement, in memory or as files on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.learned import Learned
from moe_apps.pipelines.recommendation.preprocessing import Arrays, Preprocessing
from moe_apps.pipelines.recommendation.readers import Source
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.splits import assign
from moe_apps.pipelines.recommendation.table import Table

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prepared:
    """Data that are split, with what training rows taught.

    Attributes:
        preprocessing: Raw columns to the model's arrays.
        train: Training rows; with streaming a sample of them, for baselines and references.
        validation: Validation rows (with streaming, a sample).
        test: Test rows (with streaming, a sample).
        facts: What the data were, for `metrics.json`.
        source: With streaming, where all rows are.
        settings: The run's settings.
        rows: Training rows in all.
        drawn: By part, how many rows at its end are drawn negatives.
    """

    preprocessing: Preprocessing
    train: Table
    validation: Table
    test: Table
    facts: Mapping[str, Any]
    settings: RecommendationConfig
    source: Source | None = None
    rows: int = 0
    drawn: Mapping[str, int] = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        """What the columns mean; as settled by the training rows."""
        return self.preprocessing.schema

    def found(self) -> list[Table]:
        """Training, validation and test rows without drawn negatives."""
        parts = {name: getattr(self, name) for name in PARTS}
        return [
            part.take(slice(0, len(part) - self.drawn.get(name, 0))) for name, part in parts.items()
        ]

    def with_preprocessing(self, preprocessing: Preprocessing) -> Prepared:
        """The same rows for a model that was trained on others."""
        return replace(self, preprocessing=preprocessing)

    def training_arrays(self, folder: Path) -> tuple[Arrays, Arrays]:
        """Inputs and targets of all training rows; with streaming, files mapped from `folder`."""
        if self.source is None:
            return self.arrays(self.train)
        folder.mkdir(exist_ok=True)
        return self._written(folder)

    def arrays(self, table: Table) -> tuple[Arrays, Arrays]:
        """Inputs, with the user (and the treatment) beside the fields, and targets of rows."""
        inputs = self.preprocessing.inputs(table)
        inputs["user"] = self.preprocessing.user(table)
        if self.preprocessing.treatments:
            inputs["treatment"] = np.maximum(self.preprocessing.treatment(table), 0)
        return inputs, self.preprocessing.labels(table)

    def _written(self, folder: Path) -> tuple[Arrays, Arrays]:
        assert self.source is not None
        made: dict[tuple[int, str], npt.NDArray[Any]] = {}
        start = 0
        for part, chunk in parts_of_chunks(self.source, self.settings):
            rows = np.flatnonzero(part == 0)
            if not len(rows):
                continue
            chunk = chunk.take(rows)
            for kind, arrays in enumerate(self.arrays(chunk)):
                for name, array in arrays.items():
                    if (kind, name) not in made:
                        made[kind, name] = np.lib.format.open_memmap(
                            folder / f"{'inputs' if kind == 0 else 'targets'}-{name}.npy",
                            mode="w+",
                            dtype=array.dtype,
                            shape=(self.rows, *array.shape[1:]),
                        )
                    made[kind, name][start : start + len(chunk)] = array
            start += len(chunk)
        if start != self.rows:
            raise DataError(f"{self.source.path}: has changed while it was read")
        for array in made.values():
            array.flush()  # type: ignore[attr-defined]
        return (
            {name: array for (kind, name), array in made.items() if kind == 0},
            {name: array for (kind, name), array in made.items() if kind == 1},
        )


def parts_of_chunks(source: Source, config: RecommendationConfig) -> Iterator[tuple[Any, Table]]:
    """Chunks, with the part of each row: 0 training, 1 validation, 2 test."""
    first = 0
    for chunk in source.chunks():
        part = assign(
            chunk,
            first,
            config.data.split,
            validation_fraction=config.data.validation_fraction,
            test_fraction=config.data.test_fraction,
            seed=config.seed,
        )
        yield part, chunk
        first += len(chunk)


def treatments_of(config: RecommendationConfig, schema: Schema, train: Table) -> tuple[str, ...]:
    """For uplift models: the treatments of the training rows, the control first."""
    if config.model.name != "mtmt" or schema.treatment is None or train.treatment is None:
        return ()
    column, control = schema.treatment.column, schema.treatment.control
    found = sorted(
        str(train.treatment.values[code])
        for code in np.unique(train.treatment.codes[train.treatment.present])
    )
    if control not in found:
        raise DataError(
            f"treatment column {column!r}: no training row has the control {control!r}; "
            f"found {', '.join(found[:5])}"
        )
    if len(found) < 2:
        raise DataError(f"treatment column {column!r}: all rows are {control!r}")
    return (control, *(name for name in found if name != control))


def facts_of(
    config: RecommendationConfig, source: str, learned: Learned, digest: str
) -> dict[str, Any]:
    return {
        "source": source,
        "digest": digest,
        "split": config.data.split,
        "seed": config.seed,
        "fields": len(learned.schema.fields),
        "tasks": {
            name: {
                "rows": spread.count,
                "mean": spread.mean,
                "deviation": spread.deviation,
            }
            for name, spread in learned.labels.items()
        },
    }
