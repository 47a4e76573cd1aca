"""Training, judging, resuming and using a recommender, through the doors that users have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

import moe_apps
from moe_apps.errors import UserError
from moe_apps.pipelines.recommendation import fitting
from moe_apps.pipelines.recommendation.generator import GeneratorSettings, write_log
from moe_apps.pipelines.recommendation.schema import Schema, load_schema

SMALL = [
    "model.units=[8]",
    "model.tower_units=[]",
    "model.num_experts=2",
    "model.embedding_dimension=4",
    "train.epochs=1",
    "train.batch_size=128",
    "evaluation.boosting=false",
]


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of Parquet files, and the file of its schema."""
    folder = tmp_path_factory.mktemp("data")
    schema = write_log(
        folder / "log", 900, GeneratorSettings(users=40, items=30, length=4), part_rows=500
    )
    return folder / "log", write_schema(schema, folder / "schema.yaml")


def write_schema(schema: Schema, file: Path) -> Path:
    file.write_text(yaml.safe_dump(schema.model_dump(mode="json")))
    return file


def only(log: tuple[Path, Path], task: str, folder: Path) -> tuple[Path, Path]:
    """The log, with one of its tasks in the schema."""
    schema = load_schema(log[1])
    schema = schema.model_copy(update={"tasks": [schema.task(task)]})
    return log[0], write_schema(schema, folder / "schema.yaml")


def settings(log: tuple[Path, Path], *more: str) -> dict:
    return {"data": log[0], "set": [*SMALL, f"data.schema_file={log[1]}", *more]}


@pytest.fixture(scope="module")
def trained(log, tmp_path_factory) -> tuple[Path, dict]:
    run = tmp_path_factory.mktemp("runs") / "small"
    more = ("evaluation.ranking=sampled", "evaluation.negatives=9")
    return run, moe_apps.train("recommendation", output=run, seed=3, **settings(log, *more))


def test_a_run_has_all_that_users_look_for(trained):
    run, metrics = trained
    for name in ("config.yaml", "model.keras", "metrics.json", "history.csv", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "saved_model" / "1" / "saved_model.pb").is_file()
    figures = {file.stem for file in (run / "figures").iterdir()}
    assert figures >= {"gates", "calibration", "by_activity", "training"}
    assert set(metrics["baselines"]) == {"base_rate", "popularity", "logistic_regression"}
    for row in (metrics["test"], metrics["dense_twin"], *metrics["baselines"].values()):
        assert 0 < row["auc"] < 1 and row["tasks"]["minutes"]["rmse"] > 0
        assert {one["kind"] for one in row["slices"]["click"]} >= {"domain", "activity", "item"}
    parameters = metrics["parameters"]
    assert abs(parameters["dense_twin"] / parameters["total"] - 1) < 0.05
    for gate in metrics["routing"]["gates"].values():
        assert sum(gate["weight"]) == pytest.approx(1) and len(gate["by_domain"]) == 3
    assert {row["expert"] for row in metrics["routing"]["experts"]} == {"shared_0", "shared_1"}
    ranking = metrics["test"]["ranking"]
    assert 0 <= ranking["hr@10"] <= 1 and "9 items" in ranking["protocol"]
    assert "ranking" in metrics["baselines"]["popularity"]
    assert json.loads((run / "metrics.json").read_text())["test"] == metrics["test"]
    assert not (run / "arrays").exists()


def test_evaluate_repeats_the_test_and_takes_other_data(trained, log, tmp_path):
    run, metrics = trained
    again = moe_apps.evaluate(run)
    assert again["test"]["score"] == pytest.approx(metrics["test"]["score"], rel=1e-5)
    assert again["dense_twin"]["auc"] == pytest.approx(metrics["dense_twin"]["auc"], rel=1e-5)
    assert again["test"]["ranking"]["mrr"] == pytest.approx(metrics["test"]["ranking"]["mrr"])
    one_file = next(iter(sorted(log[0].iterdir())))
    elsewhere = moe_apps.evaluate(run, data=one_file)
    assert sum(elsewhere["data"]["rows"].values()) == 500
    assert elsewhere["test"]["score"] != metrics["test"]["score"]


def test_predict_and_the_saved_model_agree_also_in_a_bare_tensorflow(trained, log, tmp_path):
    run, _ = trained
    answer = moe_apps.predict(run, input=log[0], output=tmp_path / "scores.parquet")
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert answer["rows"] == len(scores) == 900
    assert scores["click"].between(0, 1).all() and scores["minutes"].mean() > 1
    example = json.loads((run / "example.json").read_text())
    np.save(tmp_path / "click.npy", bare_tensorflow(run, example)["click"])
    rows = pd.concat(map(pd.read_parquet, sorted(log[0].iterdir())), ignore_index=True)
    rows["row"] = np.arange(len(rows))
    found = rows.merge(
        pd.DataFrame({"user_id": example["user_id"], "item_id": example["item_id"]}).replace(
            "", None
        ),
        on=["user_id", "item_id"],
    )
    expected = set(scores["click"][found["row"]].round(5))
    assert set(np.load(tmp_path / "click.npy").round(5).astype(float)) & expected


def bare_tensorflow(run: Path, example: dict) -> dict[str, np.ndarray]:
    """Answers of the exported model in a process that knows TensorFlow only."""
    code = (
        "import json, sys, numpy as np, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "specs = model.structured_input_signature[1]\n"
        "given = json.loads(sys.stdin.read())\n"
        "for name, spec in specs.items():\n"
        "    if spec.dtype == tf.float32:\n"
        "        given[name] = [np.nan if v is None else v for v in given[name]]\n"
        "answer = model(**{n: tf.constant(given[n], s.dtype) for n, s in specs.items()})\n"
        "print(json.dumps({n: v.numpy().tolist() for n, v in answer.items()}))\n"
        "assert not any(name.startswith('moe_apps') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run / "saved_model" / "1")],
        input=json.dumps(example),
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: np.array(value) for name, value in json.loads(done.stdout).items()}


def test_the_saved_model_answers_unseen_ids_missing_values_and_one_user_with_candidates(trained):
    run, _ = trained
    model = tf.saved_model.load(str(run / "saved_model" / "1"))
    specs = model.signatures["serving_default"].structured_input_signature[1]
    nothing = {
        tf.float32: lambda shape: np.full(shape, np.nan, np.float32),
        tf.string: lambda shape: np.full(shape, "", object),
        tf.int64: lambda shape: np.full(shape, -1, np.int64),
    }
    shapes = {name: (2,) if len(spec.shape) == 1 else (2, 6) for name, spec in specs.items()}
    blank = {name: nothing[spec.dtype](shapes[name]) for name, spec in specs.items()}
    blank["user_id"][1] = "nobody has met"
    answer = model.signatures["serving_default"](**{k: tf.constant(v) for k, v in blank.items()})
    assert np.isfinite(answer["click"].numpy()).all()
    rank = model.signatures["rank"]
    of_items = {"item_id", "genre", "price"}
    many = {n: np.repeat(v[:1], 5 if n in of_items else 1, axis=0) for n, v in blank.items()}
    many["item_id"][:] = ["i0", "i1", "i2", "i3", "?"]
    scores = rank(**{k: tf.constant(v) for k, v in many.items()})["click"].numpy()
    one = {n: np.repeat(v[:1], 5, axis=0) for n, v in blank.items()} | {"item_id": many["item_id"]}
    alone = model.signatures["serving_default"](**{k: tf.constant(v) for k, v in one.items()})
    np.testing.assert_allclose(scores, alone["click"].numpy(), rtol=1e-5)
    gates = model.signatures["explain"](**{k: tf.constant(v) for k, v in blank.items()})
    np.testing.assert_allclose(gates["gate_click"].numpy().sum(axis=1), 1, rtol=1e-5)


def test_a_list_of_users_gets_the_best_items_they_have_no_row_with(trained, log, tmp_path):
    run, _ = trained
    users = tmp_path / "users.csv"
    users.write_text("user_id\nu1\nu2\nu1\nstranger\n")
    answer = moe_apps.predict(run, input=users, output=tmp_path / "top.csv")
    lists = pd.read_csv(tmp_path / "top.csv")
    assert set(lists["user_id"]) == {"u1", "u2", "stranger"}
    assert any("1 of 3 users" in note for note in answer["notes"])
    rows = pd.concat(map(pd.read_parquet, sorted(log[0].iterdir())))
    met = set(rows["item_id"][rows["user_id"] == "u1"])
    mine = lists[lists["user_id"] == "u1"]
    assert not met & set(mine["item_id"])
    assert mine["rank"].tolist() == list(range(1, len(mine) + 1))
    assert mine["click"].is_monotonic_decreasing
    assert len(lists[lists["user_id"] == "stranger"]) == 10


@pytest.mark.slow
def test_the_same_settings_give_the_same_result_also_when_interrupted_and_resumed(
    trained, log, tmp_path, monkeypatch
):
    whole = fitting.fit

    def interrupted(model, *arguments, **named):
        if named["title"] == "dense twin":
            raise KeyboardInterrupt
        return whole(model, *arguments, **named)

    monkeypatch.setattr(fitting, "fit", interrupted)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        moe_apps.train("recommendation", config=trained[0] / "config.yaml", output=run)
    monkeypatch.setattr(fitting, "fit", whole)
    resumed = moe_apps.train("recommendation", resume=run)
    assert resumed["test"] == trained[1]["test"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=mmo", "mmoe"),
        ("model.gate=no_such", "no_such"),
        ("data.split=sideways", "user_time"),
        ("model.units=[0]", "positive"),
        ("data.test_fraction=1.5", "test_fraction"),
    ],
)
def test_bad_settings_are_refused_in_one_line_and_leave_nothing(override, message, log, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=message) as caught:
        moe_apps.train("recommendation", output=run, **settings(log, override))
    assert "\n" not in str(caught.value)
    assert not run.exists()


def test_data_without_a_schema_are_refused_with_the_way_to_get_one(log, tmp_path):
    with pytest.raises(UserError, match="inspect recommendation"):
        moe_apps.train("recommendation", data=log[0], output=tmp_path / "run")


@pytest.mark.slow
def test_an_uplift_model_is_judged_beside_a_learner_an_arm_and_random_order(log, tmp_path):
    run = tmp_path / "run"
    metrics = moe_apps.train(
        "recommendation",
        output=run,
        **settings(log, "model.name=mtmt", "evaluation.dense_twin=false"),
    )
    rows = {"model": metrics["test"], **metrics["baselines"]}
    for name in ("model", "T-learner_logistic", "random"):
        assert set(rows[name]["uplift"]["buy"]) == {"mail", "coupon"}
        assert isinstance(rows[name]["qini"], float)
    moe_apps.predict(run, input=log[0], output=tmp_path / "effects.csv")
    assert "buy_effect_coupon" in pd.read_csv(tmp_path / "effects.csv")
    model = tf.saved_model.load(str(run / "saved_model" / "1")).signatures["serving_default"]
    assert model.structured_outputs["buy_effect"].shape.as_list() == [None, 2]


@pytest.mark.slow
def test_numbers_alone_are_learnt_from_streamed_files(log, tmp_path):
    run = tmp_path / "run"
    numbers = only(log, "minutes", tmp_path)
    own = settings(numbers, "data.streamed=true", "evaluation.dense_twin=false")
    metrics = moe_apps.train("recommendation", output=run, **own)
    assert sum(metrics["data"]["rows"].values()) == 900
    assert "auc" not in metrics["test"] and metrics["dense_twin"] is None
    assert metrics["test"]["score"] == pytest.approx(metrics["test"]["r2"])
    assert not (run / "arrays").exists()
