from __future__ import annotations

import numpy as np
import pytest

from moe_apps.errors import ConfigError
from moe_apps.pipelines.recommendation import baselines
from moe_apps.pipelines.recommendation.baselines import fit_baselines, fit_boosting, fit_linear
from moe_apps.pipelines.recommendation.designs import Narrow, OneHot, TargetMeans
from moe_apps.pipelines.recommendation.generator import generate
from moe_apps.pipelines.recommendation.generator_settings import GeneratorSettings
from moe_apps.pipelines.recommendation.metrics import score_task
from moe_apps.pipelines.recommendation.schema import Schema, Task
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.recommendation.uplift import uplift_figures
from moe_apps.pipelines.recommendation.uplift_baselines import uplift_effects
from recommendation_tables import codes

SETTINGS = GeneratorSettings(users=400, items=300, length=4)


@pytest.fixture(scope="module")
def log() -> tuple[Table, Table, Table, Schema]:
    table, schema = generate(6000, settings=SETTINGS)
    cuts = slice(0, 4000), slice(4000, 5000), slice(5000, 6000)
    return *(table.take(part) for part in cuts), schema  # type: ignore[return-value]


def test_each_beats_the_base_rate(log: tuple[Table, Table, Table, Schema]) -> None:
    train, validation, test, schema = log
    answers = fit_baselines(train, validation, schema).predict(test)
    assert list(answers) == ["base rate", "popularity", "logistic regression", "LightGBM"]
    figures = {
        name: {t.name: score_task(t, test.labels[t.name], of[t.name]) for t in schema.tasks}
        for name, of in answers.items()
    }
    for name in ("logistic regression", "LightGBM"):
        assert figures[name]["click"]["auc"] > 0.6
        assert figures[name]["click"]["normalised_entropy"] < 0.99
        assert figures[name]["minutes"]["rmse"] < figures["base rate"]["minutes"]["rmse"]
    assert figures["base rate"]["click"]["auc"] == 0.5
    assert figures["popularity"]["click"]["auc"] > 0.5
    again = fit_boosting(schema.task("buy"), train, validation, schema)(test)
    assert (again == answers["LightGBM"]["buy"]).all()


def test_one_hot_has_a_column_for_missing_and_shares_of_sequences() -> None:
    schema = Schema(
        fields=[
            {"name": "age", "kind": "dense"},
            {"name": "film", "kind": "categorical"},
            {"name": "seen", "kind": "sequence", "of": "film", "max_length": 3},
        ],
        tasks=[{"name": "like", "label": "like"}],
    )
    table = Table(
        {
            "age": np.float32([1, 3, np.nan]),
            "film": codes(["a", "", "b"]),
            "seen": codes([["a", "b", "b"], ["", "", ""], ["a", "", ""]]),
        }
    )
    # film: missing, unknown, then values by count (b and a have 3 each, a first); seen; age; gone.
    rows = OneHot(table, schema)(table).toarray()
    np.testing.assert_allclose(
        rows,
        [
            [0, 0, 1, 0, 0, 0, 1 / 3, 2 / 3, -1, 0],
            [1, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            [0, 0, 0, 1, 0, 0, 1, 0, 0, 1],
        ],
        atol=1e-6,
    )
    unseen = Table({**table.columns, "film": codes(["x", "a", ""])})
    assert OneHot(table, schema)(unseen).toarray()[0, :4].tolist() == [0, 1, 0, 0]


def test_out_of_fold_means_do_not_hold_the_rows_own_label() -> None:
    random = np.random.default_rng(0)
    indices, label = random.integers(0, 400, 2000), random.integers(0, 2, 2000).astype(float)
    means = TargetMeans(indices, label, 400, seed=0)
    inside = np.corrcoef(means.mean[indices], label)[0, 1]
    outside = np.corrcoef(means.columns(indices, training=True)[0], label)[0, 1]
    assert inside > 0.3 and abs(outside) < 0.1
    expected = (label[indices == 7].sum() + 20 * label.mean()) / ((indices == 7).sum() + 20)
    assert means.mean[7] == pytest.approx(expected)


def test_narrow_rows_keep_few_values_as_categories(log: tuple[Table, Table, Table, Schema]) -> None:
    train, _, test, schema = log
    design = Narrow(train, schema, "click")
    assert design.few == ["genre", "device", "hour", "domain"]
    rows = design(test)
    # 4 categories, 2 numbers, 2 of users, 2 of items, 3 of each sequence.
    assert rows.shape == (1000, 4 + 2 + 2 * 2 + 2 * 3)
    assert np.isnan(rows[:, 1]).mean() == pytest.approx(0.02, abs=0.02)


def test_penalties_are_chosen_by_validation_rows() -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(400, 60)), random.normal(size=60) * (np.arange(60) < 3)
    label = (random.random(400) < 1 / (1 + np.exp(-x @ w))).astype(float)
    import scipy.sparse

    rows = scipy.sparse.csr_matrix(x)
    task = Task(name="like", label="like")
    chosen = fit_linear(task, rows[:80], label[:80], rows[80:], label[80:])
    single = [
        baselines._linear(task, c, rows[:80], label[:80])(rows[80:]) for c in baselines.STRENGTHS
    ]
    errors = [baselines.log_loss(label[80:], answer) for answer in single]
    assert baselines.log_loss(label[80:], chosen(rows[80:])) == min(errors)
    constant = fit_linear(task, rows[:80], np.ones(80), rows[80:], label[80:])
    assert constant(rows[:2]).tolist() == [1, 1]


def test_without_lightgbm_it_is_said(
    log: tuple[Table, Table, Table, Schema], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'moe-apps\[recommendation\]'"):
        fit_baselines(*log[:2], log[3])


def test_t_learner_finds_who_reacts() -> None:
    random = np.random.default_rng(0)
    age = random.normal(size=8000).astype(np.float32)
    arm = random.integers(0, 3, 8000)
    effect = np.where(arm == 1, 0.3 * (age > 0), np.where(arm == 2, 0.3 * (age < 0), 0))
    buy = (random.random(8000) < 0.2 + effect).astype(np.float32)
    schema = Schema(
        fields=[{"name": "age", "kind": "dense"}],
        tasks=[{"name": "buy", "label": "buy"}],
        treatment={"column": "arm", "control": "none"},
    )
    names = np.array(["none", "mail", "call"], object)
    table = Table({"age": age}, {"buy": buy}, treatment=codes(names[arm]))
    train, test = table.take(slice(0, 5000)), table.take(slice(5000, 8000))
    found = uplift_effects(train, test, schema, ("none", "mail", "call"), boosting=True)
    label, arm = buy[5000:], arm[5000:]
    for number in (1, 2):
        rows = (arm == 0) | (arm == number)
        qini = {
            name: uplift_figures(label[rows], arm[rows] == number, of["buy"][rows, number - 1])[
                "qini"
            ]
            for name, of in found.items()
        }
        assert min(qini["T-learner logistic"], qini["T-learner LightGBM"]) > 0.02
        assert abs(qini["random"]) < 0.02
