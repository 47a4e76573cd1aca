"""Rows of items that a user did not take, for logs that hold only what users took."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError
from moe_apps.pipelines.recommendation.candidates import is_of_item
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Codes, Column, Table

IntArray = npt.NDArray[np.integer]

ROUNDS = 50
"""Draws for a place whose item the user turns out to have a row with."""


def add_negatives(
    part: Table, whole: Table, schema: Schema, count: int, *, power: float = 0.0, seed: int = 0
) -> tuple[Table, str]:
    """Put `count` drawn rows behind each row whose first task's label is above 0.

    A drawn row has the user, time, context and history of the row it stands behind, and an item
    that this user has no row with in `whole`, with that item's fields as in its last row there.
    Its labels are 0, for regression missing. Rows without user or item get none, nor do users
    who have rows with (nearly) all items.

    Args:
        part: Rows, such as the training part.
        whole: All rows of all parts, with the same coding of users and items.
        schema: What the columns mean; names user and item.
        count: Drawn rows for a positive one.
        power: Items are drawn with chances as their number of rows in `part` to this power: 0 for
            all alike, 1 by popularity.
        seed: Seed of the draws.

    Returns:
        The rows, and one sentence on how they were drawn.

    Raises:
        ConfigError: The schema names no user or item.
    """
    if whole.user is None or whole.item is None or part.user is None or part.item is None:
        raise ConfigError("data.negatives: the schema has to name the user and item columns")
    task = schema.tasks[0].name
    positive = (part.labels[task] > 0) & part.user.present & part.item.present
    behind = np.repeat(np.flatnonzero(positive), count)
    item, drawn = _drawn(part, whole, behind, power, seed)
    behind, item = behind[drawn], item[drawn]
    how = "all alike" if power == 0 else f"as often as their number of rows to the power {power:g}"
    note = (
        f"{len(behind):,} negative rows: {count} for each row with {task} above 0, of the "
        f"{(whole.item.counts() > 0).sum():,} items {how}, without those the user has a row with"
    )
    if not len(behind):
        return part, note
    made = _rows(part, whole, schema, behind, item)
    return Table.concatenate([part, made]), note


def last_rows(item: Codes) -> IntArray:
    """Number of the last row of each item, `[items]`; -1 for one without rows.

    Example:
        >>> last_rows(Codes.of(np.array(["a", "b", "a"], object))).tolist()
        [2, 1]
    """
    last = np.full(len(item.values), -1)
    last[item.codes[item.present]] = np.flatnonzero(item.present)
    return last


def _drawn(
    part: Table, whole: Table, behind: IntArray, power: float, seed: int
) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """An item for each place, and whether one was found."""
    assert whole.user is not None and whole.item is not None
    assert part.user is not None and part.item is not None
    items = np.flatnonzero(whole.item.counts())
    # Items that come up in other parts alone can be drawn too, if rarely.
    weight = np.maximum(part.item.counts()[items], 0.5) ** power
    chance = np.cumsum(weight / weight.sum())
    user = part.user.codes[behind].astype(np.int64)
    size = len(whole.item.values)
    both = whole.user.present & whole.item.present
    met = np.unique(whole.user.codes[both].astype(np.int64) * size + whole.item.codes[both])
    random = np.random.default_rng(seed)
    item = np.zeros(len(behind), np.int64)
    open_places = np.arange(len(behind))
    for _ in range(ROUNDS):
        if not len(open_places):
            break
        place = np.searchsorted(chance, random.random(len(open_places)), side="right")
        item[open_places] = items[np.minimum(place, len(items) - 1)]
        pairs = user[open_places] * size + item[open_places]
        open_places = open_places[_inside(pairs, met)]
    found = np.ones(len(behind), bool)
    found[open_places] = False
    return item, found


def _inside(values: IntArray, ordered: IntArray) -> npt.NDArray[np.bool_]:
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return ordered[place] == values


def _rows(part: Table, whole: Table, schema: Schema, behind: IntArray, item: IntArray) -> Table:
    assert whole.item is not None
    source = last_rows(whole.item)[item]
    columns: dict[str, Column] = {
        one.name: whole.columns[one.name][source]
        if is_of_item(schema, one)
        else part.columns[one.name][behind]
        for one in schema.fields
    }
    labels = {
        task.name: np.full(len(behind), 0 if task.kind == "binary" else np.nan, np.float32)
        for task in schema.tasks
    }
    return replace(
        part.take(behind),
        columns=columns,
        labels=labels,
        item=Codes(item.astype(np.int32), whole.item.values),
    )
