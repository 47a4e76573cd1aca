"""What the recommendation tab answers for: a run's users and items, and what was typed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from moe_apps.demos.trained_run import once_a_run
from moe_apps.pipelines.run_folder import RunFolder

MOST_USERS = 200
"""Users that are offered, the most active ones."""
AT_ONCE = 512
"""Rows that are answered together."""
THIS_ROW = "this row"
"""What is answered for where the data know no items."""


class Loaded(NamedTuple):
    """What is made of a run: how columns become inputs, answers and gates; whom it knows."""

    preprocessing: Any
    answer: Any
    gates: Any
    users: list[str]
    lists: bool


@once_a_run
def loaded_of(run: RunFolder) -> Loaded:
    from moe_apps.pipelines.recommendation.kept_files import load_known, load_preprocessing
    from moe_apps.pipelines.recommendation.systems import answer_function, gate_function
    from moe_apps.pipelines.tracked_run import load_model

    model = load_model(run.model_file)
    known = load_known(run)
    return Loaded(
        load_preprocessing(run),
        answer_function(model, AT_ONCE),
        gate_function(model, AT_ONCE),
        [] if known is None else list(map(str, known.seen["user"].value_counts().index)),
        known is not None and len(known.items) > 0,
    )


def typed_rows(features: pd.DataFrame | None) -> pd.DataFrame:
    """The rows of the table of features that name one."""
    if features is None or "feature" not in features:
        return pd.DataFrame({"feature": [], "value": []})
    named = features["feature"].fillna("").astype(str).str.strip() != ""
    return features[named]


def pairs(run: RunFolder, loaded: Loaded, typed: pd.DataFrame, user: str | None) -> Any:
    """The user and features as typed, beside the items that the run knows."""
    from moe_apps.demos import recommendation_answer as shown
    from moe_apps.pipelines.recommendation.readers import read
    from moe_apps.pipelines.recommendation.top_items import Pairs, pairs_of

    schema = loaded.preprocessing.schema
    if typed.empty and not loaded.lists:
        typed = shown.example_features(run, schema)
    file = shown.typed_file(schema, typed, user)
    if loaded.lists:
        return pairs_of(run, loaded.preprocessing, file)
    row = read(file, schema, labels=False)
    return Pairs(row, row, np.array([THIS_ROW], object), np.zeros((1, 1), bool), 0)


def users_of(run: RunFolder) -> list[str]:
    """The most active users of a run, read without its model."""
    from moe_apps.pipelines.recommendation.kept_files import SEEN_FILE

    file = run.path / SEEN_FILE
    if not file.is_file():
        return []
    counts = pd.read_parquet(file)["user"].value_counts()
    return list(map(str, counts.index[:MOST_USERS]))
