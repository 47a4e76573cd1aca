"""What a run keeps beside its model: how columns become inputs, and who and what it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moe_apps.pipelines.recommendation.histories import latest_histories
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.recommendation.preprocessing import Preprocessing
from moe_apps.pipelines.recommendation.schema import DenseField, Schema
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.run_folder import RunFolder

PREPROCESSING_FILE = "preprocessing.json"
EXAMPLE_FILE = "example.json"
TWIN_FILE = "dense_twin.keras"
SINGLE_FOLDER = "single_task"
ITEMS_FILE, USERS_FILE, SEEN_FILE = "items.parquet", "users.parquet", "seen.parquet"


@dataclass(frozen=True)
class Known:
    """Items, users and who had which item, of a run whose schema names user and item.

    Attributes:
        items: Column `item`, and a column for each field of group item (its latest value).
        users: Column `user`, and a column for each field of group user, and for each history.
        seen: Columns `user` and `item`, a row for each pair that came up in the data.
    """

    items: pd.DataFrame
    users: pd.DataFrame
    seen: pd.DataFrame


def keep_tables(run: RunFolder, data: Prepared) -> None:
    """Write what `predict` needs to make lists for users; nothing without user and item ids.

    With streamed data it is of the sampled rows.
    """
    schema = data.schema
    if schema.user is None or schema.item is None:
        return
    table = Table.concatenate(data.found())
    assert table.user is not None and table.item is not None
    order = np.arange(len(table)) if table.time is None else np.argsort(table.time, kind="stable")
    items = _latest(table, schema, "item", order)
    users = _latest(table, schema, "user", order)
    if any(one.history_of for one in schema.sequences):
        users = users.merge(latest_histories(table, schema), on="user", how="left")
    both = table.user.present & table.item.present
    seen = pd.DataFrame(
        {"user": table.user.codes[both], "item": table.item.codes[both]}
    ).drop_duplicates()
    seen = pd.DataFrame(
        {
            "user": table.user.values[seen["user"]].astype(object),
            "item": table.item.values[seen["item"]].astype(object),
        }
    )
    for frame, file in ((items, ITEMS_FILE), (users, USERS_FILE), (seen, SEEN_FILE)):
        frame.to_parquet(run.path / file, index=False)


def load_known(run: RunFolder) -> Known | None:
    """What `keep_tables` wrote, if it wrote."""
    files = [run.path / name for name in (ITEMS_FILE, USERS_FILE, SEEN_FILE)]
    if not all(file.is_file() for file in files):
        return None
    return Known(*(pd.read_parquet(file) for file in files))


def load_preprocessing(run: RunFolder) -> Preprocessing:
    """How the run's columns become inputs."""
    return Preprocessing.load(run.path / PREPROCESSING_FILE)


def _latest(table: Table, schema: Schema, role: str, order: Any) -> pd.DataFrame:
    """The last row of each id: the id, and its fields of that group."""
    ids = getattr(table, role)
    codes = pd.Series(ids.codes[order], index=order)
    last = codes[(codes >= 0) & ~codes.duplicated(keep="last")]
    rows = last.index.to_numpy()
    made: dict[str, Any] = {role: ids.values[last.to_numpy()].astype(object)}
    for one in schema.fields:
        if one.group != role or getattr(one, "history_of", None):
            continue
        column = table.columns[one.name][rows]
        if isinstance(one, DenseField):
            made[f"field {one.name}"] = column
        elif one.kind == "sequence":
            raw, present = column.raw(), column.present
            made[f"field {one.name}"] = [
                values[there].tolist() for values, there in zip(raw, present, strict=True)
            ]
        else:
            made[f"field {one.name}"] = column.raw()
    return pd.DataFrame(made)
