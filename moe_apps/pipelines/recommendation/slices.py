"""Parts of the test rows that are judged apart: domains, users by activity, cold and warm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.recommendation.metrics import Figures, Scores, score_task
from moe_apps.pipelines.recommendation.parts import IntArray, is_cold
from moe_apps.pipelines.recommendation.schema import Task
from moe_apps.pipelines.recommendation.table import Codes, Table

MOST_DOMAINS = 20
LEVELS = 4

Masks = dict[str, npt.NDArray[np.bool_]]


def activity(users: Codes, train: IntArray, rows: IntArray, levels: int = LEVELS) -> Masks:
    """Rows by how much their user did in training.

    Args:
        users: Users of all rows.
        train: Training rows.
        rows: Rows to sort, such as the test part.
        levels: Equal parts of the users that `rows` have; users of one number of training rows
            stay together, so parts may be unequal, and fewer.

    Returns:
        For each level a name that says the range, and a mask over `rows`; least active first.

    Example:
        >>> users = Codes.of(np.array(list("aaabbc"), object))
        >>> list(activity(users, np.arange(4), np.arange(6), levels=2))
        ['users with 0-1 training rows', 'users with 3 training rows']
    """
    did = np.bincount(users.codes[train][users.present[train]], minlength=len(users.values))
    asked = users.codes[rows]
    people = np.unique(asked[asked >= 0])
    if not len(people):
        return {}
    edges = np.unique(np.quantile(did[people], np.linspace(0, 1, levels + 1)[1:-1]))
    # Counts up to an edge are at most as active as it.
    level = np.searchsorted(edges, did[people], side="left")
    made: Masks = {}
    for number in np.unique(level):
        inside = people[level == number]
        low, high = did[inside].min(), did[inside].max()
        span = f"{low}" if low == high else f"{low}-{high}"
        made[f"users with {span} training rows"] = np.isin(asked, inside)
    return made


def slices(table: Table, train: IntArray, rows: IntArray) -> dict[str, Masks]:
    """Masks over `rows` by kind: domain, activity, user, item; kinds the data have no ids for
    are absent, and so are slices of no rows.

    The 20 largest domains are apart, others together.

    Example:
        >>> film = Codes.of(np.array(list("aab"), object))
        >>> table = Table({"film": film}, item=film)
        >>> {k: m.tolist() for k, m in slices(table, np.arange(2), np.arange(1, 3))["item"].items()}
        {'warm': [True, False], 'cold': [False, True]}
    """
    made: dict[str, Masks] = {}
    if table.domain is not None:
        made["domain"] = _domains(table.domain[rows])
    if table.user is not None:
        made["activity"] = activity(table.user, train, rows)
    for role in ("user", "item"):
        ids: Codes | None = getattr(table, role)
        if ids is not None:
            cold, there = is_cold(ids, train)[rows], ids.present[rows]
            made[role] = {"warm": ~cold & there, "cold": cold, "missing": ~there}
    return {
        kind: {name: mask for name, mask in masks.items() if mask.any()}
        for kind, masks in made.items()
    }


def _domains(domain: Codes) -> Masks:
    counts = domain.counts()
    largest = np.argsort(-counts, kind="stable")[:MOST_DOMAINS]
    made = {str(domain.values[code]): domain.codes == code for code in largest}
    rest = ~np.isin(domain.codes, largest)
    return {**made, "others": rest & domain.present, "missing": ~domain.present}


def score_slices(
    task: Task,
    labels: npt.NDArray[np.floating],
    predictions: Scores,
    users: Codes | None,
    parts: Mapping[str, Masks],
) -> list[dict[str, str | float | None]]:
    """Figures of one task in each slice: a row each with `kind`, `slice` and `score_task`'s."""
    rows: list[dict[str, str | float | None]] = []
    for kind, masks in parts.items():
        for name, mask in masks.items():
            inside = None if users is None else users[mask]
            figures: Figures = score_task(task, labels[mask], predictions[mask], inside)
            rows.append({"kind": kind, "slice": name, **figures})
    return rows
