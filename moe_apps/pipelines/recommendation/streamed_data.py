"""Data that are never in memory whole: a pass that learns and samples, and one that writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.learned import learn
from moe_apps.pipelines.recommendation.prepared import (
    PARTS,
    Prepared,
    facts_of,
    parts_of_chunks,
    treatments_of,
)
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.readers import Source
from moe_apps.pipelines.recommendation.sample_rows import RowSample
from moe_apps.pipelines.recommendation.table import Table


@dataclass
class _Samples:
    """A sample of each part, and how many rows each has."""

    parts: Mapping[str, RowSample]
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    def training_rows(self, source: Source, config: RecommendationConfig) -> Iterator[Table]:
        for part, chunk in parts_of_chunks(source, config):
            for number, name in enumerate(PARTS):
                rows = np.flatnonzero(part == number)
                if len(rows):
                    taken = chunk.take(rows)
                    self.rows[name] += len(rows)
                    self.parts[name].add(taken)
                    if name == "train":
                        yield taken


def prepare_streamed(config: RecommendationConfig, source: Source) -> Prepared:
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
    learned.check_labels(str(source.path))
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
        **facts_of(config, str(source.path), learned, digest),
        "test_digest": digest,
        "rows": samples.rows,
        "rows_left_out": 0,
        "cold": _cold(parts),
        "notes": notes,
    }
    preprocessing = Preprocessing.of(
        learned,
        treatments_of(config, source.schema, parts["train"]),
        config.model.embedding_dimension,
    )
    source = replace(source, schema=learned.schema)
    train, validation, test = (parts[name] for name in PARTS)
    return Prepared(
        preprocessing, train, validation, test, facts, config, source=source, rows=learned.rows
    )


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
