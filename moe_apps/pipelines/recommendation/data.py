"""From data settings to what is trained on and judged by: whole in memory, or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.histories import add_histories
from moe_apps.pipelines.recommendation.learned import learn
from moe_apps.pipelines.recommendation.negatives import add_negatives
from moe_apps.pipelines.recommendation.parts import cold_shares
from moe_apps.pipelines.recommendation.preprocessing import Arrays, Preprocessing
from moe_apps.pipelines.recommendation.readers import Source, open_source, read
from moe_apps.pipelines.recommendation.sample_rows import RowSample
from moe_apps.pipelines.recommendation.schema import Schema, load_schema
from moe_apps.pipelines.recommendation.splits import assign, split
from moe_apps.pipelines.recommendation.table import Table

SAMPLE = "sample data: made by our generator"
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
        for part, chunk in _parts(self.source, self.settings):
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


def prepare(config: RecommendationConfig, path: str | Path | None = None) -> Prepared:
    """Read and split the data of the settings, or of another path by the same rules.

    Raises:
        ConfigError: Settings that do not fit the data or the schema.
        DataError: Data that cannot be used.
    """
    settings = config.data
    path = path or settings.path
    if path is None:
        table, schema = sample_table(config)
        return _in_memory(config, table, schema, SAMPLE)
    schema = schema_of(config)
    source = open_source(path, schema, strict=settings.strict)
    size = sum(file.path.stat().st_size for file in source.files)
    if settings.streamed is True or (
        settings.streamed == "auto" and size >= settings.streamed_from and _can_stream(config)
    ):
        return _streamed(config, source)
    table = read(path, schema, strict=settings.strict)
    return _in_memory(config, table, schema, str(path))


def schema_of(config: RecommendationConfig) -> Schema:
    """The schema of the settings; of the sample data without a path."""
    settings = config.data
    if settings.schema_file is not None:
        return load_schema(Path(settings.schema_file))
    if settings.path is None:
        return sample_table(config, rows=500)[1]
    raise ConfigError(
        "data.schema_file: has to be given (--schema FILE): "
        f"`moe-apps inspect recommendation {settings.path}` drafts one"
    )


def sample_table(config: RecommendationConfig, rows: int | None = None) -> tuple[Table, Schema]:
    """The generator's rows and their schema."""
    from moe_apps.pipelines.recommendation.generator import generate

    return generate(rows=rows or config.data.rows, seed=0)


def _can_stream(config: RecommendationConfig) -> bool:
    return config.data.split in ("random", "user")


def _in_memory(config: RecommendationConfig, table: Table, schema: Schema, source: str) -> Prepared:
    settings = config.data
    made = split(
        table,
        settings.split,
        validation_fraction=settings.validation_fraction,
        test_fraction=settings.test_fraction,
        seed=config.seed,
    )
    # Only training labels enter a history: it may not tell how an earlier test row ended.
    table = add_histories(table, schema, made.mask("train", len(table)))
    parts = {name: table.take(getattr(made, name)) for name in PARTS}
    found = {name: len(part) for name, part in parts.items()}
    notes = _add_negatives(config, table, schema, parts) if settings.negatives else []
    learned = learn([parts["train"]], schema)
    learned.check_labels()
    facts = {
        **_facts(config, source, learned, table.digest()),
        "rows": {name: len(part) for name, part in parts.items()},
        "rows_left_out": made.left_out,
        "cold": cold_shares(table, made)["test"],
        "notes": [*table.notes, *notes, *learned.notes],
    }
    preprocessing = Preprocessing.of(
        learned, _treatments(config, schema, parts["train"]), config.model.embedding_dimension
    )
    train, validation, test = (parts[name] for name in PARTS)
    return Prepared(
        preprocessing,
        train,
        validation,
        test,
        facts,
        config,
        rows=learned.rows,
        drawn={name: len(parts[name]) - count for name, count in found.items()},
    )


def _add_negatives(
    config: RecommendationConfig, table: Table, schema: Schema, parts: dict[str, Table]
) -> list[str]:
    """Draw negatives for every part in place; what was drawn, by part."""
    notes = []
    for number, name in enumerate(PARTS):
        parts[name], note = add_negatives(
            parts[name],
            table,
            schema,
            config.data.negatives,
            power=config.data.negatives_power,
            seed=config.seed + number,
        )
        notes.append(f"{name}: {note}")
    return notes


@dataclass
class _Samples:
    """A sample of each part, and how many rows each has."""

    parts: Mapping[str, RowSample]
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def training_rows(self, source: Source, config: RecommendationConfig) -> Iterator[Table]:
        for part, chunk in _parts(source, config):
            for number, name in enumerate(PARTS):
                rows = np.flatnonzero(part == number)
                if len(rows):
                    taken = chunk.take(rows)
                    self.rows[name] += len(rows)
                    self.parts[name].add(taken)
                    if name == "train":
                        yield taken


def _streamed(config: RecommendationConfig, source: Source) -> Prepared:
    settings = config.data
    if settings.negatives:
        raise ConfigError("data.negatives: needs all rows in memory; set data.streamed=false")
    if any(one.history_of for one in source.schema.sequences):
        raise ConfigError(
            "data.streamed: sequences with history_of need all rows in memory; set "
            "data.streamed=false, or put the sequences into the files"
        )
    samples = _Samples(
        {
            name: RowSample(settings.evaluated_rows, config.seed + number)
            for number, name in enumerate(PARTS)
        }
    )
    learned = learn(samples.training_rows(source, config), source.schema)
    learned.check_labels()
    parts = {}
    for name, sample in samples.parts.items():
        if not samples.rows[name]:
            raise DataError(f"{source.path}: split {settings.split} leaves no row for {name}")
        parts[name] = sample.table()
    notes = [
        *source.notes,
        f"read in chunks; baselines and judgement use at most {settings.evaluated_rows:,} rows "
        "of each part, drawn at random",
        *learned.notes,
    ]
    digest = parts["test"].digest()
    facts = {
        **_facts(config, str(source.path), learned, digest),
        "rows": samples.rows,
        "rows_left_out": 0,
        "cold": _cold(parts),
        "notes": notes,
    }
    preprocessing = Preprocessing.of(
        learned,
        _treatments(config, source.schema, parts["train"]),
        config.model.embedding_dimension,
    )
    source = replace(source, schema=learned.schema)
    train, validation, test = (parts[name] for name in PARTS)
    return Prepared(
        preprocessing, train, validation, test, facts, config, source=source, rows=learned.rows
    )


def _parts(source: Source, config: RecommendationConfig) -> Iterator[tuple[Any, Table]]:
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


def _cold(parts: Mapping[str, Table]) -> dict[str, float]:
    """Upper bounds, since only a sample of the training rows is at hand."""
    made = {}
    for role in ("user", "item"):
        train, test = getattr(parts["train"], role), getattr(parts["test"], role)
        if train is not None:
            seen = set(train.values[np.unique(train.codes[train.present])])
            new = np.array([value not in seen for value in test.values] + [False])
            made[f"{role}_cold_at_most"] = float(new[test.codes].mean())
    return made


def _treatments(config: RecommendationConfig, schema: Schema, train: Table) -> tuple[str, ...]:
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


def _facts(config: RecommendationConfig, source: str, learned: Any, digest: str) -> dict[str, Any]:
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
