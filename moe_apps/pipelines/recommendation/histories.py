"""Sequences of what a user did before, made of the user's earlier rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.recommendation.schema import Schema, SequenceField
from moe_apps.pipelines.recommendation.table import ABSENT, Codes, Table

IntArray = npt.NDArray[np.int64]


def add_histories(
    table: Table, schema: Schema, known: npt.NDArray[np.bool_] | None = None
) -> Table:
    """Fill every sequence field that has `history_of`.

    A row's history are the values of field `of` in rows of the same user, strictly earlier in
    time, whose label of that task is above 0; never the row itself, nor one of the same instant.
    Rows without user or time have none.

    Args:
        table: Rows, in any order.
        schema: What they mean.
        known: bool `[rows]`: rows whose labels may be used, such as the training part, so that
            no test label enters an input; None for all.

    Example:
        >>> schema = Schema(
        ...     fields=[
        ...         {"name": "film", "kind": "categorical"},
        ...         {"name": "seen", "kind": "sequence", "of": "film", "max_length": 2,
        ...          "history_of": "like"},
        ...     ],
        ...     tasks=[{"name": "like", "label": "like"}], user="user", time="time",
        ... )
        >>> table = Table(
        ...     {"film": Codes.of(np.array(["a", "b", "c"], object))},
        ...     {"like": np.ones(3, np.float32)},
        ...     user=Codes.of(np.array(["u", "u", "u"], object)), time=np.array([1.0, 2.0, 3.0]),
        ... )
        >>> add_histories(table, schema).columns["seen"].raw().tolist()
        [['', ''], ['a', ''], ['a', 'b']]
    """
    made = {}
    for one in schema.sequences:
        if one.history_of is not None:
            made[one.name] = _history(table, one, known)
    return table.with_columns(made) if made else table


def _history(table: Table, one: SequenceField, known: npt.NDArray[np.bool_] | None) -> Codes:
    items, label = table.categories(one.of), table.labels[str(one.history_of)]
    assert table.user is not None and table.time is not None
    # NaN sorts last within a user, so that the order below is by user, then by time.
    order = np.lexsort((table.time, table.user.codes))
    user, time = table.user.codes[order], table.time[order]
    chosen = (label > 0) & items.present & (True if known is None else known)
    chosen = chosen[order] & ~np.isnan(time) & (user != ABSENT)
    taken = items.codes[order][chosen]
    before = np.cumsum(chosen) - chosen  # chosen rows before each, of all users
    new_user = np.append(True, user[1:] != user[:-1])
    new_time = new_user | np.append(True, time[1:] != time[:-1])
    start = before[_first(new_user)]
    end = before[_first(new_time)]
    end = np.where((user == ABSENT) | np.isnan(time), start, end)
    codes = np.full((len(table), one.max_length), ABSENT, np.int32)
    begin = np.maximum(end - one.max_length, start)
    for place in range(one.max_length):
        at = begin + place
        inside = at < end
        codes[order[inside], place] = taken[at[inside]]
    return Codes(codes, items.values)


def _first(new: npt.NDArray[np.bool_]) -> IntArray:
    """Position of the first row of each row's group, given where groups begin."""
    return np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))


def latest_histories(table: Table, schema: Schema) -> pd.DataFrame:
    """Each user's history after all rows: column `user`, and a list for each such field.

    Kept with a run, it gives known users their history when rows to answer for have none.
    """
    assert table.user is not None
    users = np.flatnonzero(table.user.counts())
    later = Table(
        {
            one.of: Codes(np.full(len(users), ABSENT, np.int32), table.categories(one.of).values)
            for one in schema.sequences
        },
        {task: np.zeros(len(users), np.float32) for task in table.labels},
        user=Codes(users.astype(np.int32), table.user.values),
        time=np.full(len(users), np.inf),
    )
    past = Table(
        {one.of: table.columns[one.of] for one in schema.sequences},
        table.labels,
        user=table.user,
        time=table.time,
    )
    both = add_histories(Table.concatenate([past, later]), schema)
    lists: dict[str, object] = {"user": table.user.values[users]}
    for one in schema.sequences:
        if one.history_of is not None:
            codes = both.categories(one.name)[np.arange(len(table), len(both))]
            raw, present = codes.raw(), codes.present
            lists[one.name] = [row[there].tolist() for row, there in zip(raw, present, strict=True)]
    return pd.DataFrame(lists)


def join_histories(table: Table, schema: Schema, latest: pd.DataFrame) -> Table:
    """Give rows the histories that `latest_histories` found of their users; others have none."""
    assert table.user is not None
    rows = pd.Index(latest["user"]).get_indexer(pd.Index(table.user.raw()))
    made = {}
    for one in schema.sequences:
        if one.history_of is not None:
            whole = (
                next(field.type for field in schema.categorical if field.name == one.of) == "int"
            )
            lists = [list(values)[-one.max_length :] for values in latest[one.name]]
            padded = np.full((len(lists) + 1, one.max_length), -1 if whole else "", object)
            for row, values in enumerate(lists):
                padded[row, : len(values)] = values
            made[one.name] = Codes.of(padded.astype(np.int64) if whole else padded)[rows]
    return table.with_columns(made)
