"""From data settings to what is trained on and judged by: whole in memory, or streamed."""

from __future__ import annotations

from pathlib import Path

from moe_apps.errors import ConfigError
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.histories import add_histories
from moe_apps.pipelines.recommendation.learned import learn
from moe_apps.pipelines.recommendation.negatives import add_negatives
from moe_apps.pipelines.recommendation.parts import cold_shares
from moe_apps.pipelines.recommendation.prepared import (
    PARTS,
    Prepared,
    facts_of,
    treatments_of,
)
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.readers import open_source, read
from moe_apps.pipelines.recommendation.schema import Schema, load_schema
from moe_apps.pipelines.recommendation.splits import split
from moe_apps.pipelines.recommendation.streamed_data import prepare_streamed
from moe_apps.pipelines.recommendation.table import Table

SAMPLE = "sample data: made by our generator"


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
        return prepare_streamed(config, source)
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
    learned.check_labels(source)
    facts = {
        **facts_of(config, source, learned, table.digest()),
        "test_digest": parts["test"].digest(),
        "rows": {name: len(part) for name, part in parts.items()},
        "rows_left_out": made.left_out,
        "cold": cold_shares(table, made)["test"],
        "notes": [*table.notes, *notes, *learned.notes],
    }
    preprocessing = Preprocessing.of(
        learned, treatments_of(config, schema, parts["train"]), config.model.embedding_dimension
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
