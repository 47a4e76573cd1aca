from __future__ import annotations

import numpy as np

from moe_apps.pipelines.recommendation.histories import (
    add_histories,
    join_histories,
    latest_histories,
)
from moe_apps.pipelines.recommendation.parts import Split
from moe_apps.pipelines.recommendation.schema import Schema
from recommendation_tables import log

LENGTH = 3
SCHEMA = Schema(
    fields=[
        {"name": "film", "kind": "categorical"},
        {
            "name": "seen",
            "kind": "sequence",
            "of": "film",
            "max_length": LENGTH,
            "history_of": "like",
        },
    ],
    tasks=[{"name": "like", "label": "like"}],
    user="who",
    time="when",
)


def expected(table, row: int, known: np.ndarray) -> list[str]:
    user, film, time = table.user.raw(), table.columns["film"].raw(), table.time
    earlier = [
        other
        for other in np.argsort(time, kind="stable")
        if user[other] == user[row] != ""
        and time[other] < time[row]
        and table.labels["like"][other] > 0
        and known[other]
    ]
    items = [film[other] for other in earlier][-LENGTH:]
    return items + [""] * (LENGTH - len(items))


def test_histories_are_the_users_earlier_likes_that_may_be_known() -> None:
    table = log()
    known = Split(np.arange(300), np.arange(300, 350), np.arange(350, 400), "random").mask(
        "train", 400
    )
    seen = add_histories(table, SCHEMA, known).categories("seen").raw().tolist()
    for row in range(len(table)):
        assert seen[row] == expected(table, row, known), row
    assert sum(any(row) for row in seen) > 200


def test_a_row_never_knows_its_own_label() -> None:
    table = log()
    before = add_histories(table, SCHEMA).categories("seen").raw()
    flipped = table.labels["like"].copy()
    flipped[7] = 1 - flipped[7]
    table.labels["like"][:] = flipped  # type: ignore[index]
    after = add_histories(table, SCHEMA).categories("seen").raw()
    assert (before[7] == after[7]).all() and (before != after).any()


def test_latest_histories_serve_users_later() -> None:
    table = log()
    latest = latest_histories(table, SCHEMA)
    asked = log(seed=1, rows=20, users=40)
    seen = join_histories(asked, SCHEMA, latest).categories("seen").raw()
    lists = dict(zip(latest["user"], latest["seen"], strict=True))
    assert asked.user is not None
    for row, user in zip(seen.tolist(), asked.user.raw().tolist(), strict=True):
        assert [item for item in row if item] == lists.get(user, [])
