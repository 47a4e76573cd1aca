from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from moe_apps.errors import ConfigError
from moe_apps.pipelines.config import dump_config
from moe_apps.pipelines.recommendation.rules import LabelRule
from moe_apps.pipelines.recommendation.schema import Schema, load_schema

FILM = {"name": "film", "kind": "categorical"}
LIKE = {"name": "like", "label": "rating >= 4"}


def made(**settings: Any) -> Schema:
    return Schema(**{"fields": [FILM], "tasks": [LIKE], **settings})


def test_yaml_round_trip(tmp_path: Path) -> None:
    schema = made(user="who", treatment={"column": "arm", "control": "none"})
    path = tmp_path / "schema.yaml"
    path.write_text(dump_config(schema))
    assert load_schema(path) == schema


def test_defaults_follow_the_kind_of_task() -> None:
    task = made(tasks=[{"name": "spend", "label": "spend", "kind": "regression"}]).tasks[0]
    assert (task.loss, task.metric) == ("mean_squared_error", "rmse")


def test_columns_without_labels_are_those_that_predict_needs() -> None:
    schema = made(user="who", treatment={"column": "arm", "control": "none"})
    assert schema.columns() == ["film", "rating", "who", "arm"]
    assert schema.columns(labels=False) == ["film", "who"]


def test_indices_of_the_encodings() -> None:
    fields = [
        FILM,
        {"name": "ad", "kind": "categorical", "encoding": "hashed", "size": 10},
        {"name": "hour", "kind": "categorical", "type": "int", "encoding": "integer", "size": 24},
    ]
    assert [one.table_size(5) for one in made(fields=fields).categorical] == [7, 11, 26]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fields": [FILM, FILM]}, "found twice: film"),
        ({"fields": [{**FILM, "column": "rating"}]}, "would give the answer away"),
        ({"fields": [{**FILM, "encoding": "hashed"}]}, "encoding hashed needs a size"),
        ({"fields": [FILM, {"name": "s", "kind": "sequence", "of": "x"}]}, "categorical field"),
        (
            {
                "fields": [
                    FILM,
                    {"name": "s", "kind": "sequence", "of": "film", "history_of": "like"},
                ]
            },
            "history_of needs user and time",
        ),
        ({"tasks": [{**LIKE, "label": "rating >= good"}]}, ">= needs a number"),
        ({"tasks": [{**LIKE, "loss": "huber"}]}, "does not fit kind binary"),
        ({"fields": []}, "at least 1 item"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        made(**settings)


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump({"fields": [{**FILM, "siz": 3}], "tasks": [LIKE]}))
    with pytest.raises(ConfigError, match=r"schema\.yaml: fields\.0\.siz: no such setting"):
        load_schema(path)
    path.write_text("fields: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_schema(path)
    with pytest.raises(ConfigError, match="no such schema file"):
        load_schema(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("x >= 4", [4, 3, None], [1, 0, None]),
        ("x == yes", ["yes", "no", None], [1, 0, None]),
        ("x == '1'", ["1", "no", None], [1, 0, None]),
        ("x in [on, 2026-01-01]", ["on", "2026-01-01", None], [1, 1, None]),
        ("x != a", ["a", "b", None], [0, 1, None]),
        ("x == - 50.", ["- 50.", "50", None], [1, 0, None]),
        ("x in [1, 2]", [1.0, 3.0, None], [1, 0, None]),
        ("x in [a, b]", ["b", "c", None], [1, 0, None]),
    ],
)
def test_rules(text: str, values: list[Any], expected: list[float | None]) -> None:
    label = LabelRule.parse(text).apply(pd.Series(values))
    assert [None if value != value else value for value in label.tolist()] == expected
