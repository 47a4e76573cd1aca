"""The tab of recommendation, asked as a visitor's own program asks it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError

from moe_apps.demos.page import build, serve
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.data import prepare
from moe_apps.pipelines.recommendation.kept_files import EXAMPLE_FILE, PREPROCESSING_FILE
from moe_apps.pipelines.recommendation.served_inputs import raw_of
from moe_apps.pipelines.recommendation.systems import build_model
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import save_model

DOMAIN = "recommendation"
NOTHING = {"headers": ["feature", "value"], "data": []}


def table(answer: dict) -> pd.DataFrame:
    return pd.DataFrame(answer["data"], columns=answer["headers"])


def typed(**features: str) -> dict:
    return {"headers": ["feature", "value"], "data": [list(one) for one in features.items()]}


def test_a_user_gets_a_list_with_probabilities_and_gates(client):
    users, features, chart, listed, gates, words, items, fields = client.predict(
        None, NOTHING, 5, api_name="/recommend"
    )
    found = table(listed)
    assert found["rank"].tolist() == ["1", "2", "3", "4", "5"] or found["rank"].tolist() == [
        1,
        2,
        3,
        4,
        5,
    ]
    click = found["click"].astype(float)
    assert click.is_monotonic_decreasing and click.between(0, 1).all()
    assert {"minutes", "buy", "genre", "price"} <= set(found)
    assert users["value"] == users["choices"][0][0]  # the most active one
    known = table(features).set_index("feature")["value"]
    assert known["age"] and "genre" not in known  # of the item
    assert [trace["name"] for trace in json.loads(chart["plot"])["data"]] == ["click", "buy"]
    assert all(gate in gates["plot"] for gate in ("click", "minutes", "buy"))
    assert f"For user {users['value']}" in words and "How sure" in words and "70% of pairs" in words
    assert "strongest for domain" in words and "Answered by MMoE" in words
    assert [name for name, _ in items["choices"]] == found["item_id"].tolist()
    assert "device" in [name for name, _ in fields["choices"]]


def test_typed_features_count(client):
    old, young = (
        table(client.predict(None, typed(age=age, device="phone"), 3, api_name="/recommend")[3])
        for age in ("90", "16")
    )
    assert not old["click"].equals(young["click"])


def test_what_if_goes_through_the_values_of_a_feature(client):
    listed = table(client.predict("u0", NOTHING, 1, api_name="/recommend")[3])
    item = listed["item_id"][0]
    chart, words = client.predict("u0", NOTHING, item, "device", api_name="/what_if")
    figure = json.loads(chart["plot"])
    assert {trace["name"] for trace in figure["data"]} == {"click", "buy", "minutes"}
    assert set(figure["data"][0]["x"]) == {"phone", "desktop", "tablet", "tv"}
    assert f"click of {item}" in words
    chart, _ = client.predict("u0", NOTHING, item, "price", api_name="/what_if")  # of the item
    assert len(json.loads(chart["plot"])["data"][0]["x"]) == 11


def test_mistakes_are_named(client):
    with pytest.raises(AppError, match="feature 'colour': is not known; expected age"):
        client.predict(None, typed(colour="red"), 5, api_name="/recommend")
    with pytest.raises(AppError, match="column 'age': found 'old', expected a number"):
        client.predict(None, typed(age="old"), 5, api_name="/recommend")
    with pytest.raises(AppError, match="item 'i999999': is not known"):
        client.predict("u0", NOTHING, "i999999", "device", api_name="/what_if")


@pytest.fixture(scope="module")
def census(tmp_path_factory) -> Path:
    """A run on rows without users and items."""
    folder = tmp_path_factory.mktemp("census")
    rows = pd.DataFrame({"age": range(20, 80), "work": ["farm", "office"] * 30})
    rows["rich"] = (rows["age"] > 50).astype(int)
    rows.to_csv(folder / "census.csv", index=False)
    schema = {
        "fields": [{"name": "age", "kind": "dense"}, {"name": "work", "kind": "categorical"}],
        "tasks": [{"name": "rich", "label": "rich"}],
    }
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema))
    data = {"path": str(folder / "census.csv"), "schema_file": str(folder / "schema.yaml")}
    config = RecommendationConfig.model_validate({"data": data, "model": {"units": [4]}})
    prepared = prepare(config)
    run = RunFolder.create("recommendation", folder / "runs" / "census")
    run.start(config)
    prepared.preprocessing.save(run.path / PREPROCESSING_FILE)
    write_json(run.path / EXAMPLE_FILE, raw_of(prepared.preprocessing, prepared.test.take([0])))
    save_model(build_model(config, prepared.preprocessing, prepared.train), run.model_file)
    return folder / "runs"


def test_rows_without_users_and_items_are_answered_for(census):
    page = build(["recommendation"], census)
    client = Client(serve(page, port=0, wait=False), verbose=False)
    answer = client.predict(None, NOTHING, 5, api_name="/recommend")
    assert table(answer[1])["feature"].tolist() == ["age", "work"]
    listed = table(answer[3])
    assert listed["item"].tolist() == ["this row"] and 0 <= float(listed["rich"][0]) <= 1
    chart, words = client.predict(
        None, typed(age="30", work="farm"), None, "work", api_name="/what_if"
    )
    assert set(json.loads(chart["plot"])["data"][0]["x"]) == {"farm", "office"}
    assert "now work is farm" in words
    page.close()
