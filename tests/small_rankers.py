"""Small ranking models of every system, and inputs of all of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from moe_apps.models.recommendation import SYSTEMS, Categorical, Fields, History, Ranker, TaskSpec

FIELDS = Fields(
    dense=("age", "price"),
    categorical=(Categorical("user", 7, 4), Categorical("film", 9, 4), Categorical("genre", 5, 2)),
    sequences=(History("seen", "film", 5), History("genres", "genre", 5)),
)
TASKS = (
    TaskSpec("click", group="attention"),
    TaskSpec("minutes", "regression", group="attention"),
    TaskSpec("buy", group="purchase"),
)


def rows(count: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs of all systems; the first row has an empty history."""
    random = np.random.default_rng(seed)
    seen = random.integers(0, 9, (count, 5))
    seen[0] = 0
    return {
        "categorical": random.integers(0, 5, (count, 3)).astype("int32"),
        "dense": random.normal(size=(count, 2)).astype("float32"),
        "sequence_seen": seen.astype("int32"),
        "sequence_genres": random.integers(0, 5, (count, 5)).astype("int32"),
        "user": np.arange(count, dtype="int32") // 2,
        "treatment": (np.arange(count) % 3).astype("int32"),
    }


def make(name: str, **settings: Any) -> Ranker:
    """A small model of a system."""
    keras.utils.set_random_seed(1)
    own: dict[str, Any] = {"units": (6,), "tower_units": (4,), "embedding_scale": 0.5}
    if name == "mtmt":
        own |= {"treatments": 2, "token_dimension": 4}
    if name == "magnet":
        own |= {"user": "user", "item": "film", "content": ("genre", "genres")}
        own |= {"num_edges": 3, "num_content_edges": 2}
    if name == "aw_moe":
        own |= {"behaviour_units": 4, "num_experts": 3}
        own.pop("tower_units")
    model: Any = SYSTEMS[name](FIELDS, TASKS, **{**own, **settings})
    if name == "magnet":
        model.set_graph(np.array([[1, 2], [1, 3], [2, 3]]), np.array([[2, 3], [3, 4]]))
    return model


def inputs_of(model: Ranker, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    wanted = {*model.fields.inputs(), *model.extra_inputs}
    return {name: value for name, value in values.items() if name in wanted}
