from __future__ import annotations

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.learned import learn
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Table
from recommendation_tables import codes

SCHEMA = Schema(
    fields=[
        {"name": "pay", "kind": "dense", "transform": "log1p"},
        {"name": "film", "kind": "categorical", "min_count": 2},
        {"name": "seen", "kind": "sequence", "of": "film", "max_length": 2},
        {"name": "age", "kind": "categorical", "type": "int"},
    ],
    tasks=[{"name": "like", "label": "like"}],
)


def table(rows: int = 60, seed: int = 0) -> Table:
    random = np.random.default_rng(seed)
    pay = random.normal(5, 3, rows).astype(np.float32)
    pay[::7] = np.nan
    return Table(
        {
            "pay": pay,
            "film": codes([f"f{number}" for number in random.integers(9, size=rows)]),
            "seen": codes(
                [[f"f{number}" for number in pair] for pair in random.integers(12, size=(rows, 2))]
            ),
            "age": codes(random.integers(-1, 5, rows)),
        },
        {"like": random.integers(0, 2, rows).astype(np.float32)},
    )


def test_one_pass_over_chunks_equals_the_whole() -> None:
    whole = table()
    found = learn((whole.take(rows) for rows in np.array_split(np.arange(60), 7)), SCHEMA)
    pay = np.sign(whole.numbers("pay")) * np.log1p(np.abs(whole.numbers("pay")))
    assert found.rows == 60
    assert found.dense["pay"].mean == pytest.approx(np.nanmean(pay), rel=1e-5)
    assert found.dense["pay"].deviation == pytest.approx(np.nanstd(pay), rel=1e-5)
    assert found.dense["pay"].count == np.isfinite(pay).sum()
    assert found.labels["like"].mean == pytest.approx(whole.labels["like"].mean())
    values = np.r_[whole.categories("film").raw(), whole.categories("seen").raw().ravel()]
    names, counts = np.unique(values.astype(str), return_counts=True)
    ranked = sorted((-count, name) for name, count in zip(names, counts, strict=True) if count >= 2)
    assert found.vocabularies["film"].tolist() == [name for _, name in ranked]
    assert sorted(found.vocabularies["age"].tolist()) == [0, 1, 2, 3, 4]


def test_too_many_values_are_hashed_and_said() -> None:
    found = learn([table()], SCHEMA, most_values=8)
    field = found.schema.field("film")
    assert field.encoding == "hashed" and field.size == 2**18
    assert found.schema.field("age").encoding == "vocabulary"
    assert "field film has too many different values" in found.notes[0]
    assert "film" not in found.vocabularies


@pytest.mark.parametrize(
    ("value", "message"), [(1, "is 1 in all 60"), (np.nan, "is missing in all 60")]
)
def test_a_label_without_information_is_refused(value: float, message: str) -> None:
    rows = table()
    constant = Table(rows.columns, {"like": np.full(60, value, np.float32)})
    with pytest.raises(DataError, match=f"a.csv: task like: label `like` {message}"):
        learn([constant], SCHEMA).check_labels("a.csv")
    learn([rows], SCHEMA).check_labels("a.csv")
    with pytest.raises(DataError, match="no training rows"):
        learn([], SCHEMA)
