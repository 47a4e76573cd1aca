"""What the generator makes, and the schema of it."""

from __future__ import annotations

from pydantic import Field

from moe_apps.pipelines.config import Settings
from moe_apps.pipelines.recommendation.schema import Schema

OFFERS = ("none", "mail", "coupon")


class GeneratorSettings(Settings):
    """What is made.

    Attributes:
        users: Users; a few of them do most.
        items: Items; a few of them are shown most.
        correlation: Cosine between the weights of two tasks, from 0 to 1.
        length: Items of a behaviour sequence at most.
        noise: Variance of the noise in y.
        missing: Share of missing values in the columns that may have them.
        seed: Seed of users, items and weights.
    """

    users: int = Field(default=2000, ge=10)
    items: int = Field(default=400, ge=10)
    correlation: float = Field(default=0.5, ge=0, le=1)
    length: int = Field(default=10, ge=1)
    noise: float = Field(default=0.01, ge=0)
    missing: float = Field(default=0.02, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)


def schema_of_log(settings: GeneratorSettings) -> Schema:
    """What the columns of a generated log mean: three tasks in two groups, an offer at random."""
    item, user = {"group": "item"}, {"group": "user"}
    history = {"kind": "sequence", "max_length": settings.length, **user}
    return Schema.model_validate(
        {
            "fields": [
                {"name": "user_id", "kind": "categorical", **user},
                {"name": "age", "kind": "dense", **user},
                {"name": "item_id", "kind": "categorical", **item},
                {"name": "genre", "kind": "categorical", **item},
                {"name": "price", "kind": "dense", "transform": "log1p", **item},
                {"name": "device", "kind": "categorical", "group": "context"},
                {
                    "name": "hour",
                    "kind": "categorical",
                    "type": "int",
                    "encoding": "integer",
                    "size": 24,
                    "group": "context",
                },
                {"name": "domain", "kind": "categorical", "group": "context"},
                {"name": "history", "of": "item_id", **history},
                {"name": "history_genre", "of": "genre", **history},
            ],
            "tasks": [
                {"name": "click", "label": "click", "group": "attention"},
                {
                    "name": "minutes",
                    "label": "minutes",
                    "kind": "regression",
                    "weight": 0.1,
                    "group": "attention",
                },
                {"name": "buy", "label": "buy", "group": "purchase"},
            ],
            "user": "user_id",
            "item": "item_id",
            "time": "time",
            "domain": "domain",
            "treatment": {"column": "offer", "control": OFFERS[0]},
        }
    )
