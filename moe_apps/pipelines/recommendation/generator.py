"""Makes interaction logs of any size, whose tasks are as related as one likes.

Labels have the form of MMoE's synthetic data (see `related_tasks`); what they are made of is ours:
users and items with hidden tastes, devices, hours, domains, an offer given at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.generator_settings import (
    OFFERS,
    GeneratorSettings,
    schema_of_log,
)
from moe_apps.pipelines.recommendation.readers import from_batch
from moe_apps.pipelines.recommendation.related_tasks import related_labels, related_weights
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Table

FloatArray = npt.NDArray[np.float64]

TASTES = 8  # hidden numbers of a user and of an item
FEATURES = TASTES + 8
DEVICES = ("phone", "desktop", "tablet", "tv")
GENRES = ("drama", "comedy", "action", "family", "horror", "music", "news", "sport")
DOMAINS = ("home", "search", "email")
START = 1_700_000_000  # seconds since 1970
PART_ROWS = 250_000


@dataclass(frozen=True)
class World:
    """Users, items and weights, the same for all parts of one log.

    Example:
        >>> World.of(GeneratorSettings(users=10, items=20)).batch(5, part=0).num_rows
        5
    """

    settings: GeneratorSettings
    users: FloatArray  # [users, TASTES]
    items: FloatArray  # [items, TASTES]
    age: FloatArray
    price: FloatArray
    genre: npt.NDArray[np.int64]
    liked: npt.NDArray[np.int64]  # [users, 32] items after the user's taste
    domain: npt.NDArray[np.int64]
    weights: FloatArray  # [tasks, FEATURES]
    shift: FloatArray  # [domains, FEATURES]

    @classmethod
    def of(cls, settings: GeneratorSettings) -> World:
        """The world of a seed."""
        random = np.random.default_rng(settings.seed)
        genre = random.integers(len(GENRES), size=settings.items)
        centres = random.normal(size=(len(GENRES), TASTES))
        items = 0.7 * centres[genre] + 0.7 * random.normal(size=(settings.items, TASTES))
        users = random.normal(size=(settings.users, TASTES))
        return cls(
            settings,
            users,
            items,
            age=np.clip(random.normal(40, 14, settings.users).round(), 16, 90),
            price=np.exp(random.normal(2, 0.7, settings.items)).round(2),
            genre=genre,
            liked=_liked(users, items, random),
            domain=random.integers(len(DOMAINS), size=settings.users),
            weights=related_weights(FEATURES, 3, settings.correlation, random),
            shift=0.3 * random.normal(size=(len(DOMAINS), FEATURES)) / np.sqrt(FEATURES),
        )

    def batch(self, rows: int, part: int) -> pa.RecordBatch:
        """Rows of one part; the same for the same settings, number of rows and part."""
        random = np.random.default_rng([self.settings.seed, 1 + part])
        # Squares of uniform numbers: few users and items make most of the rows.
        user = (random.random(rows) ** 2 * len(self.users)).astype(np.int64)
        item = (random.random(rows) ** 2 * len(self.items)).astype(np.int64)
        device = random.integers(len(DEVICES), size=rows)
        hour = random.integers(24, size=rows)
        offer = random.integers(len(OFFERS), size=rows)
        domain = self.domain[user]
        x = self._features(user, item, device, hour)
        own = (x * self.shift[domain]).sum(axis=1, keepdims=True)
        score = x @ self.weights.T + own  # (rows, tasks)
        y = related_labels(score, np.eye(3), random, self.settings.noise)
        # A mail moves those who like the item's genre; a coupon the young, whatever they like.
        effect = np.where(offer > 0, 0.4 + 0.4 * x[:, 0], 0) + np.where(
            offer == 2, -0.4 * x[:, 8], 0
        )
        click = random.random(rows) < _logistic(y[:, 0] - 1)
        buy = random.random(rows) < _logistic(y[:, 1] + effect - 2)
        columns: dict[str, Any] = {
            "user_id": self._blanked(_named("u", user, len(self.users)), random),
            "item_id": _named("i", item, len(self.items)),
            "time": START + part * 10**6 + np.sort(random.integers(10**6, size=rows)),
            "age": self._blanked(pa.array(self.age[user]), random),
            "device": self._blanked(_texts(device, DEVICES), random),
            "hour": pa.array(hour),
            "domain": _texts(domain, DOMAINS),
            "genre": _texts(self.genre[item], GENRES),
            "price": self._blanked(pa.array(self.price[item]), random),
            **self._sequences(user, random),
            "offer": _texts(offer, OFFERS),
            "click": pa.array(click.astype(np.int8)),
            # Nobody watches what was not opened.
            "minutes": pa.array(np.where(click, np.exp(0.5 + 0.4 * y[:, 2]), np.nan).round(2)),
            "buy": pa.array(buy.astype(np.int8)),
        }
        return pa.record_batch(columns)

    def _features(self, user: Any, item: Any, device: Any, hour: Any) -> FloatArray:
        """x `[rows, FEATURES]`, each of about unit variance."""
        angle = 2 * np.pi * hour / 24
        price = np.log(self.price[item])
        return np.column_stack(
            [
                self.users[user] * self.items[item],
                (self.age[user] - 40) / 14,
                (price - 2) / 0.7,
                np.sqrt(2) * np.sin(angle),
                np.sqrt(2) * np.cos(angle),
                (device - 1.5) / 1.12,
                np.where(device == 0, 1.5, -0.5),
                self.users[user][:, 0],
                self.items[item][:, 1],
            ]
        )

    def _sequences(self, user: Any, random: np.random.Generator) -> dict[str, pa.Array]:
        rows, length = len(user), self.settings.length
        counts = random.integers(length + 1, size=rows)
        owners = np.repeat(user, counts)
        items = self.liked[owners, random.integers(self.liked.shape[1], size=len(owners))]
        ends = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
        return {
            "history": pa.ListArray.from_arrays(ends, _named("i", items, len(self.items))),
            "history_genre": pa.ListArray.from_arrays(ends, _texts(self.genre[items], GENRES)),
        }

    def _blanked(self, array: pa.Array, random: np.random.Generator) -> pa.Array:
        gone = random.random(len(array)) < self.settings.missing
        return pa.compute.if_else(pa.array(gone), pa.scalar(None, array.type), array)


def _liked(users: FloatArray, items: FloatArray, random: np.random.Generator) -> Any:
    """32 items of each user, those that fit best of 128 drawn for the user."""
    drawn = random.integers(len(items), size=(len(users), 128))
    chosen = np.empty((len(users), 32), np.int64)
    for rows in np.array_split(np.arange(len(users)), -(-len(users) // 4096)):
        fit = np.einsum("uf,ucf->uc", users[rows], items[drawn[rows]])
        best = np.argpartition(-fit, 32, axis=1)[:, :32]
        chosen[rows] = np.take_along_axis(drawn[rows], best, axis=1)
    return chosen


def generate(
    rows: int = 60_000, seed: int = 0, settings: GeneratorSettings | None = None
) -> tuple[Table, Schema]:
    """A log in memory, with its schema.

    Args:
        rows: Rows.
        seed: Seed, where no settings are given.
        settings: What is made.

    Example:
        >>> table, schema = generate(rows=100)
        >>> len(table), sorted(table.labels)
        (100, ['buy', 'click', 'minutes'])
    """
    settings = settings or GeneratorSettings(seed=seed)
    schema = schema_of_log(settings)
    return from_batch(World.of(settings).batch(rows, part=0), schema), schema


def write_log(
    folder: Path, rows: int, settings: GeneratorSettings, part_rows: int = PART_ROWS
) -> Schema:
    """Write a log as Parquet files of `part_rows` rows, one after the other in bounded memory.

    Args:
        folder: Made new.
        rows: Rows of all files together.
        settings: What is made.
        part_rows: Rows of a file.

    Raises:
        DataError: The folder is there already.

    Example:
        >>> write_log(Path("log"), 10_000_000, GeneratorSettings())  # doctest: +SKIP
    """
    if folder.exists():
        raise DataError(f"{folder}: is there already; a log is written into a new folder")
    folder.mkdir(parents=True)
    world = World.of(settings)
    for part, start in enumerate(range(0, rows, part_rows)):
        batch = world.batch(min(part_rows, rows - start), part)
        pq.write_table(pa.Table.from_batches([batch]), folder / f"part-{part:05d}.parquet")
    return schema_of_log(settings)


def _named(letter: str, numbers: npt.NDArray[np.int64], count: int) -> pa.Array:
    names = pa.array([f"{letter}{number}" for number in range(count)])
    return names.take(pa.array(numbers))


def _texts(codes: npt.NDArray[np.int64], names: Sequence[str]) -> pa.Array:
    return pa.array(list(names)).take(pa.array(codes))


def _logistic(x: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-x))
