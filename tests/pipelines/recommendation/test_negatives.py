from __future__ import annotations

import numpy as np
import pytest

from moe_apps.errors import ConfigError
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.data import prepare
from moe_apps.pipelines.recommendation.generator import generate
from moe_apps.pipelines.recommendation.generator_settings import GeneratorSettings
from moe_apps.pipelines.recommendation.negatives import add_negatives
from moe_apps.pipelines.recommendation.table import Codes, Table

SETTINGS = GeneratorSettings(users=60, items=40, length=4, missing=0.05)


def test_drawn_rows_are_the_users_with_items_that_are_not() -> None:
    whole, schema = generate(900, settings=SETTINGS)
    part = whole.take(slice(0, 500))
    table, note = add_negatives(part, whole, schema, 3, seed=1)
    drawn = table.take(slice(500, len(table)))
    assert whole.user is not None and whole.item is not None and drawn.user is not None
    met = set(zip(whole.user.raw(), whole.item.raw(), strict=True))
    pairs = list(zip(drawn.user.raw(), drawn.item.raw(), strict=True))  # type: ignore[union-attr]
    assert not met & set(pairs)
    positive = (part.labels["click"] > 0) & part.user.present  # type: ignore[union-attr]
    assert 2.5 * positive.sum() < len(drawn) <= 3 * positive.sum()
    assert str(len(drawn)) in note.replace(",", "")
    assert (drawn.labels["click"] == 0).all() and np.isnan(drawn.labels["minutes"]).all()
    # Fields of the item are the item's, those of the user the user's.
    genre = dict(zip(whole.item.raw(), whole.categories("genre").raw(), strict=True))
    assert [genre[item] for _, item in pairs] == drawn.categories("genre").raw().tolist()
    assert (drawn.categories("user_id").raw() == drawn.user.raw()).all()
    again, _ = add_negatives(part, whole, schema, 3, seed=1)
    assert again.digest() == table.digest()


def test_items_by_popularity() -> None:
    whole, schema = generate(900, settings=SETTINGS)
    counts = []
    for power in (0.0, 1.0):
        table, _ = add_negatives(whole, whole, schema, 5, power=power)
        item = table.item
        assert item is not None
        counts.append(Codes(item.codes[900:], item.values).counts())
    rows = whole.item.counts()  # type: ignore[union-attr]
    top = np.argsort(-rows)[:10]
    assert counts[1][top].mean() > 1.2 * counts[0][top].mean()


def test_a_user_of_all_items_gets_none_and_columns_are_needed() -> None:
    whole, schema = generate(900, settings=SETTINGS)
    one_user = Table(
        {name: column[:40] for name, column in whole.columns.items()},
        {task: np.ones(40, np.float32) for task in whole.labels},
        user=Codes(np.zeros(40, np.int32), np.array(["u"], object)),
        item=Codes(np.arange(40, dtype=np.int32), np.array([f"i{n}" for n in range(40)], object)),
    )
    assert len(add_negatives(one_user, one_user, schema, 2)[0]) == 40
    with pytest.raises(ConfigError, match="user and item columns"):
        add_negatives(Table(one_user.columns, one_user.labels), one_user, schema, 2)


def test_a_run_says_what_was_drawn() -> None:
    config = RecommendationConfig(data={"rows": 600, "negatives": 2})
    data = prepare(config)
    notes = [note for note in data.facts["notes"] if "negative rows" in note]
    assert [note.split(":")[0] for note in notes] == ["train", "validation", "test"]
    assert len(data.test) > 60 and data.facts["rows"]["test"] == len(data.test)
