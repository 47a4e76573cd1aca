"""Every row beside other items than its own: inputs of (row, item) pairs, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.recommendation.preprocessing import Arrays, Preprocessing
from moe_apps.pipelines.recommendation.schema import Schema

FloatArray = npt.NDArray[np.floating]
PAIRS_AT_ONCE = 65_536


def is_of_item(schema: Schema, field: Any) -> bool:
    """Whether a field is a property of the item: by its group, or because it is the item id."""
    return field.group == "item" or (field.group is None and field.column == schema.item)


def paired(
    preprocessing: Preprocessing,
    rows: Arrays,
    items: Arrays,
    row: npt.NDArray[np.integer],
    item: npt.NDArray[np.integer],
) -> Arrays:
    """Inputs of pairs: fields of the item from `items`, all others from `rows`.

    Args:
        preprocessing: Whose schema says which fields are the item's.
        rows: Inputs of rows, by name.
        items: Inputs of one row for each item.
        row: Place in `rows`, `[pairs]`.
        item: Place in `items`, `[pairs]`.
    """
    schema = preprocessing.schema
    made = {name: array[row] for name, array in rows.items()}
    for name, fields in (("categorical", schema.categorical), ("dense", schema.dense)):
        columns = [place for place, one in enumerate(fields) if is_of_item(schema, one)]
        if columns:
            made[name][:, columns] = items[name][item][:, columns]
    for one in schema.sequences:
        if is_of_item(schema, one):
            name = f"sequence_{one.name}"
            made[name] = items[name][item]
    return made


def score_pairs(
    answer: Callable[[Arrays], Mapping[str, FloatArray]],
    task: str,
    preprocessing: Preprocessing,
    rows: Arrays,
    items: Arrays,
    candidates: npt.NDArray[np.integer],
) -> FloatArray:
    """Answers of a task for candidates of each row, `[rows, candidates]`.

    Args:
        answer: Of a model, see `systems.answer_function`.
        task: Name of the task.
        preprocessing: See `paired`.
        rows: Inputs of the rows.
        items: Inputs of the items.
        candidates: Places in `items`, `[rows, candidates]`.
    """
    count, width = candidates.shape
    scores = np.empty((count, width), np.float32)
    step = max(PAIRS_AT_ONCE // width, 1)
    for start in range(0, count, step):
        part = candidates[start : start + step]
        row = np.repeat(np.arange(start, start + len(part)), width)
        inputs = paired(preprocessing, rows, items, row, part.reshape(-1))
        scores[start : start + step] = answer(inputs)[task].reshape(part.shape)
    return scores
