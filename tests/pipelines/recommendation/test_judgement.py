from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.recommendation.judgement import judge, judge_uplift, monitored, overall
from moe_apps.pipelines.recommendation.metrics import auc
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Table
from recommendation_tables import codes

SCHEMA = Schema.model_validate(
    {
        "fields": [{"name": "age", "kind": "dense"}],
        "tasks": [
            {"name": "click", "label": "click", "metric": "ndcg"},
            {"name": "buy", "label": "buy", "metric": "log_loss"},
            {"name": "stars", "label": "stars", "kind": "regression"},
        ],
        "user": "user",
    }
)


@pytest.fixture
def table() -> Table:
    random = np.random.default_rng(0)
    return Table(
        {"age": random.normal(size=40).astype(np.float32)},
        {
            "click": np.tile([1, 0], 20).astype(np.float32),
            "buy": np.where(np.arange(40) < 10, np.nan, np.tile([0, 1], 20)).astype(np.float32),
            "stars": random.normal(3, 1, 40).astype(np.float32),
        },
        user=codes([f"u{number % 4}" if number else "" for number in range(40)]),
    )


def answers(table: Table) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "click": np.clip(0.3 * table.labels["click"] + random.random(40) * 0.6, 0.01, 0.99),
        "buy": np.full(40, 0.5),
        "stars": np.full(40, table.labels["stars"].mean()),
    }


def test_the_score_is_the_mean_of_each_tasks_own_metric_with_0_for_knowing_nothing(table):
    judged = judge(SCHEMA, table, answers(table))
    tasks = judged["tasks"]
    assert tasks["buy"]["rows"] == 30  # rows without the label are not the task's
    expected = (tasks["click"]["ndcg"] + 0 + 0) / 3
    assert judged["score"] == pytest.approx(expected, abs=1e-6)
    assert judged["auc"] == auc(table.labels["click"], answers(table)["click"])
    assert judged["buy_log_loss"] == tasks["buy"]["log_loss"] and "buy_auc" not in judged


def test_with_training_rows_there_are_slices_in_which_a_missing_user_is_no_user(table):
    rows = judge(
        SCHEMA,
        table.take(slice(0, 20)),
        {name: values[:20] for name, values in answers(table).items()},
        train=table.take(slice(20, 40)),
    )["slices"]["click"]
    of_user = {row["slice"]: row["rows"] for row in rows if row["kind"] == "user"}
    assert of_user == {"warm": 19, "missing": 1}


def test_where_no_task_has_a_score_training_follows_the_error():
    figures = {"click": {"ndcg": None, "log_loss": 0.7}}
    assert overall(SCHEMA, figures) is None
    assert monitored(SCHEMA, figures) == -0.7


def test_uplift_is_judged_an_arm_against_the_control():
    random = np.random.default_rng(0)
    arm = np.arange(3000) % 3
    effect = random.random(3000) < 0.5  # only these react to treatment 2
    outcome = (random.random(3000) < 0.2 + 0.4 * effect * (arm == 2)).astype(np.float32)
    table = Table({}, {"buy": outcome})
    found = judge_uplift(table, arm, ("none", "a", "b"), {"buy": np.stack([effect] * 2, axis=1)})
    assert found["buy"]["b"]["qini"] > 0.03 > abs(found["buy"]["a"]["qini"])
    assert found["buy"]["a"]["treated"] == found["buy"]["a"]["controls"] == 1000
