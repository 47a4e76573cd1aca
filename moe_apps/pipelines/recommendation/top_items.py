"""The best items for each user of a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.recommendation.candidates import is_of_item, score_pairs
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.files import find_files, open_file
from moe_apps.pipelines.recommendation.kept_files import load_known
from moe_apps.pipelines.recommendation.preprocessing import Arrays, Preprocessing
from moe_apps.pipelines.recommendation.readers import read
from moe_apps.pipelines.recommendation.schema import DenseField, Schema, SequenceField
from moe_apps.pipelines.recommendation.systems import answer_function
from moe_apps.pipelines.recommendation.table import Codes, Column, Table
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model


def top_items(
    run: RunFolder, config: RecommendationConfig, preprocessing: Preprocessing, path: Path
) -> tuple[pd.DataFrame, list[str]]:
    """Lists of `evaluation.k` items, best first, for the users of a file.

    Fields of users and context are taken from the file where it has their columns; fields of a
    known user otherwise from the user's last row in training data; what is in neither is missing.

    Returns:
        Columns of user and item, `rank` from 1, and a column for each task; and notes.
    """
    pairs = pairs_of(run, preprocessing, path)
    answer = answer_function(load_model(run.model_file), config.evaluation.batch_size)
    table = ranked(pairs, answer, preprocessing, config.evaluation.k)
    k = min(config.evaluation.k, len(pairs.names))
    notes = [
        f"the best {k} of {len(pairs.names):,} items for each user, by "
        f"{preprocessing.schema.tasks[0].name}, without those the user has a row with in the "
        "training data"
    ]
    if pairs.unknown:
        notes.append(
            f"{pairs.unknown:,} of {len(pairs.users):,} users are not in the training data"
        )
    return table, notes


@dataclass(frozen=True)
class Pairs:
    """Users and all items of a run, to be put together.

    Attributes:
        users: Users, with all fields that are not the item's.
        items: Items, with all fields of theirs; the other fields are missing.
        names: Ids of the items, `[items]`.
        seen: `[users, items]`: whether they came up together in the training data.
        unknown: How many users are not in the training data.
    """

    users: Table
    items: Table
    names: npt.NDArray[Any]
    seen: npt.NDArray[np.bool_]
    unknown: int


def pairs_of(run: RunFolder, preprocessing: Preprocessing, path: Path) -> Pairs:
    """The users of a file and the items that a run knows; see `top_items`."""
    known = load_known(run)
    if known is None or not len(known.items):
        raise ConfigError(f"{run.path}: keeps no items to make lists of")
    schema = preprocessing.schema
    users, given = _users(path, schema)
    stored = known.users.set_index("user")
    assert users.user is not None
    place = stored.index.get_indexer(pd.Index(users.user.raw()))
    rows = _completed(users, schema, given, stored, place)
    items = _completed(
        Table({}), schema, set(), known.items.set_index("item"), np.arange(len(known.items))
    )
    seen = _seen(known.seen, users, known.items["item"])
    names = known.items["item"].to_numpy()
    return Pairs(rows, items, names, seen, int((place < 0).sum()))


def ranked(
    pairs: Pairs,
    answer: Callable[[Arrays], Mapping[str, npt.NDArray[np.floating]]],
    preprocessing: Preprocessing,
    k: int,
) -> pd.DataFrame:
    """Lists of `k` items, best first by the first task; columns as of `top_items`."""
    schema = preprocessing.schema
    assert pairs.users.user is not None
    of_rows, of_items = preprocessing.inputs(pairs.users), preprocessing.inputs(pairs.items)
    everything = np.broadcast_to(np.arange(len(pairs.names)), pairs.seen.shape)
    scores = score_pairs(answer, schema.tasks[0].name, preprocessing, of_rows, of_items, everything)
    scores[pairs.seen] = -np.inf
    k = min(k, scores.shape[1])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    keep = np.isfinite(np.take_along_axis(scores, best, axis=1)).reshape(-1)
    columns: dict[str, Any] = {
        str(schema.user): np.repeat(pairs.users.user.raw(), k),
        "rank": np.tile(np.arange(1, k + 1), len(pairs.users)),
        str(schema.item): pairs.names[best.reshape(-1)],
    }
    for one in schema.tasks:
        values = score_pairs(answer, one.name, preprocessing, of_rows, of_items, best)
        columns[one.name] = preprocessing.in_units(one.name, values.reshape(-1).astype(float))
    return pd.DataFrame(columns)[keep]


def _users(path: Path, schema: Schema) -> tuple[Table, set[str]]:
    """The users of a file, each once, and the names of the fields that it has columns of."""
    names = open_file(find_files(path)[0], schema.csv, path if path.is_dir() else None).names
    fields = [
        one
        for one in schema.fields
        if not is_of_item(schema, one)
        and one.column in names
        and not (isinstance(one, SequenceField) and one.history_of)
    ]
    # A sequence is read by the type of its field, which may be of the item.
    partners = [
        one
        for one in schema.categorical
        if one not in fields and any(getattr(field, "of", "") == one.name for field in fields)
    ]
    shown = [one for one in partners if one.column in names]
    usable = {one.name for one in (*fields, *shown)}
    fields = [one for one in fields if getattr(one, "of", one.name) in usable]
    probe = schema.model_construct(
        **{
            **dict(schema),
            "fields": [*fields, *shown],
            "item": None,
            "time": None,
            "domain": None,
            "treatment": None,
        }
    )
    table = read(path, probe, labels=False)
    assert table.user is not None
    first = pd.Series(table.user.codes).drop_duplicates()
    rows = first[first >= 0].index.to_numpy()
    if not len(rows):
        raise DataError(f"{path}: column {schema.user!r} has no user")
    return table.take(rows), {one.name for one in fields}


def _completed(
    table: Table, schema: Schema, given: set[str], stored: pd.DataFrame, place: Any
) -> Table:
    """Columns of all fields: the given ones, then what is stored of the ids, then missing."""
    types = {one.name: one.type for one in schema.categorical}
    rows = len(place)
    columns: dict[str, Column] = {}
    for one in schema.fields:
        if one.name in given:
            columns[one.name] = table.columns[one.name]
            continue
        name = one.name if getattr(one, "history_of", None) else f"field {one.name}"
        known = stored[name].to_numpy() if name in stored else None
        if isinstance(one, DenseField):
            values = np.full(rows, np.nan, np.float32)
            if known is not None:
                values[place >= 0] = known[place[place >= 0]]
            columns[one.name] = values
            continue
        whole = types[getattr(one, "of", one.name)] == "int"
        blank: Any = -1 if whole else ""
        width = one.max_length if isinstance(one, SequenceField) else 1
        raw = np.full((rows, width), blank, object)
        if known is not None:
            for row in np.flatnonzero(place >= 0):
                value = known[place[row]]
                if isinstance(one, SequenceField):
                    listed = [] if value is None or np.ndim(value) == 0 else list(value)
                    raw[row, : min(len(listed), width)] = listed[-width:]
                else:
                    raw[row, 0] = value
        typed = raw.astype(np.int64) if whole else raw
        columns[one.name] = Codes.of(typed if isinstance(one, SequenceField) else typed[:, 0])
    return Table(columns, user=table.user)


def _seen(seen: pd.DataFrame, users: Table, items: pd.Series) -> Any:
    """`[users, items]`: whether they came up together."""
    assert users.user is not None
    row = pd.Index(users.user.raw()).get_indexer(seen["user"])
    column = pd.Index(items).get_indexer(seen["item"])
    both = (row >= 0) & (column >= 0)
    made = np.zeros((len(users), len(items)), bool)
    made[row[both], column[both]] = True
    return made
