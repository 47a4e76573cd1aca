"""The graph that MAGNET works on: who took what, and which items have like content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.recommendation.candidates import is_of_item
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import CategoricalField, SequenceField
from moe_apps.pipelines.recommendation.table import Table

IntArray = npt.NDArray[np.integer]
NEIGHBOURS = 10


@dataclass(frozen=True)
class ItemGraph:
    """Edges in the indices of the model's tables, and the fields that they are of.

    Attributes:
        user: Name of the categorical field of the user's id.
        item: Name of the categorical field of the item's id.
        content: Names of categorical and sequence fields on the item's content.
        taken: `[edges, 2]`: user and item of training rows with the first task's label above 0.
        alike: `[edges, 2]`: each item and the 10 of the most similar content, by cosine.
    """

    user: str
    item: str
    content: tuple[str, ...]
    taken: IntArray
    alike: IntArray


def item_graph(preprocessing: Preprocessing, train: Table) -> ItemGraph:
    """The graph of the training rows.

    Raises:
        ConfigError: The schema has no categorical field of the user's or item's id, or none on
            the item's content.
        DataError: No training row has a label above 0.
    """
    schema = preprocessing.schema
    ids = {}
    for role in ("user", "item"):
        column = getattr(schema, role)
        names = [one.name for one in schema.categorical if one.column == column]
        if not names:
            raise ConfigError(f"model.name: magnet needs the {role} id as a categorical field")
        ids[role] = names[0]
    content = tuple(
        one.name
        for one in schema.fields
        if isinstance(one, CategoricalField | SequenceField)
        and is_of_item(schema, one)
        and one.name != ids["item"]
    )
    if not content:
        raise ConfigError(
            "model.name: magnet needs a categorical or sequence field of group item on content"
        )
    fields = preprocessing.fields()
    inputs = preprocessing.inputs(train)
    user, item = (inputs["categorical"][:, fields.index(ids[role])] for role in ("user", "item"))
    wanted = (train.labels[schema.tasks[0].name] > 0) & (user > 0) & (item > 0)
    taken = np.unique(np.stack([user[wanted], item[wanted]], axis=1), axis=0)
    if not len(taken):
        raise DataError("magnet: no training row with user, item and a label above 0")
    return ItemGraph(
        ids["user"], ids["item"], content, taken, _alike(preprocessing, inputs, item, content)
    )


def _alike(
    preprocessing: Preprocessing, inputs: Any, item: IntArray, content: tuple[str, ...]
) -> IntArray:
    fields = preprocessing.fields()
    items, rows = np.unique(item, return_index=True)
    rows, items = rows[items > 0], items[items > 0]
    columns, owners, start = [], [], 0
    sizes = {field.name: field.size for field in fields.categorical}
    sequences = {field.name: field for field in fields.sequences}
    for name in content:
        values = (
            inputs[sequences[name].input][rows]
            if name in sequences
            else inputs["categorical"][rows, fields.index(name)][:, None]
        )
        there = values > 0
        columns.append(start + values[there])
        owners.append(np.nonzero(there)[0])
        start += sizes[sequences[name].of if name in sequences else name]
    place, owner = np.concatenate(columns), np.concatenate(owners)
    marks = csr_matrix((np.ones(len(place)), (owner, place)), shape=(len(rows), start))
    marks.data[:] = 1
    count = min(NEIGHBOURS + 1, len(rows))
    nearest = NearestNeighbors(n_neighbors=count, metric="cosine").fit(marks)
    near = nearest.kneighbors(return_distance=False, n_neighbors=max(count - 1, 1))
    pairs = np.stack([np.repeat(items, near.shape[1]), items[near.reshape(-1)]], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)
