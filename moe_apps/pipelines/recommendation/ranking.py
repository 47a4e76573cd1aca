"""How high a user's next item ranks among others: the model, its twin, popularity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError
from moe_apps.models.recommendation import Ranker
from moe_apps.pipelines.recommendation.candidates import score_pairs
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.negatives import last_rows
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.recommendation.rankings import positions, ranking_figures
from moe_apps.pipelines.recommendation.systems import answer_function
from moe_apps.pipelines.recommendation.table import Table

IntArray = npt.NDArray[np.integer]


def judge_ranking(
    config: RecommendationConfig,
    data: Prepared,
    models: Mapping[str, Ranker],
    scores: dict[str, Any],
) -> None:
    """Add `ranking` (HR@k, NDCG@k, MRR, protocol) to the results of networks and popularity.

    The rows that are ranked are test rows whose first task's label is above 0 (at most
    `ranked_rows`, drawn at random). Beside the row's own item stand items that the user has no
    row with in any part: `negatives` drawn at random without repetition, or all. Popularity is
    the number of training rows with a label above 0.

    Raises:
        ConfigError: The schema names no user or item.
    """
    settings, schema = config.evaluation, data.schema
    if schema.user is None or schema.item is None:
        raise ConfigError("evaluation.ranking: the schema has to name user and item")
    task = schema.tasks[0].name
    train, validation, test = data.found()
    whole = Table.concatenate([train, validation, test])
    assert whole.user is not None and whole.item is not None
    first_test = len(whole) - len(test)
    random = np.random.default_rng(config.seed)
    rows = _wanted_rows(whole, task, first_test)
    if not len(rows):
        raise ConfigError("evaluation.ranking: no test row has a label above 0, a user and an item")
    if len(rows) > settings.ranked_rows:
        rows = np.sort(random.choice(rows, settings.ranked_rows, replace=False))
    shown = last_rows(whole.item)
    shown = shown[shown >= 0]
    place = np.full(len(whole.item.values), -1)
    place[whole.item.codes[shown]] = np.arange(len(shown))
    wanted = place[whole.item.codes[rows]]
    allowed = _allowed(whole, rows, place, len(shown))
    if settings.ranking == "sampled":
        candidates = _drawn(allowed, settings.negatives, random)
        protocol = (
            f"{len(rows):,} positive test rows; each beside up to {settings.negatives} items that "
            f"the user has no row with, drawn at random with seed {config.seed}."
        )
    else:
        candidates = np.broadcast_to(np.arange(len(shown)), allowed.shape)
        protocol = (
            f"{len(rows):,} positive test rows; each beside all of {len(shown):,} items that the "
            "user has no row with."
        )
    # The wanted item first; a place that is no candidate scores -inf.
    candidates = np.concatenate([wanted[:, None], candidates], axis=1)
    usable = np.take_along_axis(allowed, np.maximum(candidates, 0), axis=1) & (candidates >= 0)
    usable[:, 0] = True
    candidates = np.maximum(candidates, 0)
    inputs, items = (data.preprocessing.inputs(whole.take(part)) for part in (rows, shown))
    cuts = sorted({1, 5, settings.k})

    def add(name: str, found: npt.NDArray[np.floating]) -> None:
        ranks = positions(np.where(usable, found, -np.inf))
        figures = ranking_figures(ranks, cuts)
        row = scores.setdefault(name, {"score": None})
        row["ranking"] = {**figures, "protocol": protocol}
        for figure in (f"hr@{settings.k}", f"ndcg@{settings.k}"):
            row[figure] = figures[figure]

    for name, model in models.items():
        if task in model.task_names:
            answer = answer_function(model, config.evaluation.batch_size)
            add(name, score_pairs(answer, task, data.preprocessing, inputs, items, candidates))
    training = slice(0, len(train))
    liked = (whole.labels[task][training] > 0) & whole.item.present[training]
    counts = np.bincount(
        whole.item.codes[training][liked], minlength=len(whole.item.values)
    ).astype(float)
    add("popularity", counts[whole.item.codes[shown]][candidates])


def _wanted_rows(whole: Table, task: str, first: int) -> IntArray:
    assert whole.user is not None and whole.item is not None
    wanted = (whole.labels[task] > 0) & whole.user.present & whole.item.present
    wanted[:first] = False
    return np.flatnonzero(wanted)


def _allowed(whole: Table, rows: IntArray, place: IntArray, items: int) -> npt.NDArray[np.bool_]:
    """`[rows, items]`: whether the row's user has no row with the item."""
    assert whole.user is not None and whole.item is not None
    users, each = np.unique(whole.user.codes[rows], return_inverse=True)
    met = np.zeros((len(users), items), bool)
    of_user = np.full(len(whole.user.values) + 1, -1)
    of_user[users] = np.arange(len(users))
    there = (of_user[whole.user.codes] >= 0) & whole.item.present & whole.user.present
    met[of_user[whole.user.codes[there]], place[whole.item.codes[there]]] = True
    return ~met[each]


def _drawn(allowed: npt.NDArray[np.bool_], count: int, random: np.random.Generator) -> IntArray:
    """`[rows, count]` places that are allowed, each once; -1 where there are fewer."""
    made = np.full((len(allowed), min(count, allowed.shape[1])), -1)
    for row, free in enumerate(allowed):
        places = np.flatnonzero(free)
        taken = random.choice(places, min(len(places), made.shape[1]), replace=False)
        made[row, : len(taken)] = taken
    return made
