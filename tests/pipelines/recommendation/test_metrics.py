from __future__ import annotations

import keras
import keras_rs
import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from moe_apps.pipelines.recommendation import metrics
from moe_apps.pipelines.recommendation.rankings import grouped_ndcg, positions, ranking_figures
from moe_apps.pipelines.recommendation.schema import Task
from moe_apps.pipelines.recommendation.slices import activity, score_slices, slices
from recommendation_tables import codes, log

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 2, 500).astype(np.float32)
SCORES = np.round(np.clip(0.3 * LABELS + RANDOM.random(500) * 0.7, 0, 1), 2)
GROUPS = RANDOM.integers(-1, 40, 500)
LIKE = Task(name="like", label="like")


def test_auc_counts_pairs_and_ties_half() -> None:
    pairs = SCORES[LABELS == 1][:, None] - SCORES[LABELS == 0][None]
    expected = (pairs > 0).mean() + (pairs == 0).mean() / 2
    assert metrics.auc(LABELS, SCORES) == pytest.approx(expected, abs=1e-12)
    assert metrics.auc(np.ones(3), np.zeros(3)) is None


@pytest.mark.parametrize("weights", ["rows", "positives", "equal"])
def test_gauc_is_the_weighted_mean_of_users(weights: str) -> None:
    total = weight = 0.0
    for group in range(40):
        inside = np.equal(GROUPS, group)
        y, p = LABELS[inside], SCORES[inside]
        if 0 < y.mean() < 1:
            w = {"rows": len(y), "positives": y.sum(), "equal": 1}[weights]
            total, weight = total + w * roc_auc_score(y, p), weight + w
    assert metrics.gauc(LABELS, SCORES, GROUPS, weights) == pytest.approx(total / weight)  # type: ignore[arg-type]
    assert metrics.gauc(LABELS, SCORES, np.full(500, -1)) is None


def test_log_loss_and_calibration() -> None:
    assert metrics.log_loss(LABELS, SCORES) == pytest.approx(
        sklearn_log_loss(LABELS, np.clip(SCORES, 1e-7, 1 - 1e-7)), rel=1e-6
    )
    assert np.isfinite(metrics.log_loss(np.array([1, 0]), np.array([0.0, 1.0], np.float32)))
    rate = np.full(500, LABELS.mean())
    assert metrics.normalised_entropy(LABELS, rate) == pytest.approx(1)
    assert metrics.calibration_ratio(LABELS, rate) == pytest.approx(1)
    assert metrics.calibration_error(LABELS, rate) == pytest.approx(0, abs=1e-6)
    assert metrics.calibration_ratio(LABELS, 2 * rate) == pytest.approx(2)
    assert metrics.calibration_error(LABELS, rate + 0.1) == pytest.approx(0.1)
    curve = metrics.calibration_curve(LABELS, SCORES)
    assert curve["rows"].sum() == 500 and len(curve) == 10
    assert np.average(curve["observed"], weights=curve["rows"]) == pytest.approx(LABELS.mean())


def test_rows_without_a_label_do_not_count() -> None:
    labels = np.where(np.arange(500) < 100, np.nan, LABELS)
    users = codes([f"u{group}" if group >= 0 else "" for group in GROUPS])
    figures = metrics.score_task(LIKE, labels, SCORES, users)
    assert figures["rows"] == 400
    assert figures["auc"] == metrics.auc(LABELS[100:], SCORES[100:])
    assert figures["gauc"] == pytest.approx(metrics.gauc(LABELS[100:], SCORES[100:], GROUPS[100:]))
    assert metrics.score_task(LIKE, np.full(3, np.nan), SCORES[:3])["auc"] is None


def test_regression() -> None:
    task = Task(name="spend", label="spend", kind="regression")
    figures = metrics.score_task(task, np.array([1.0, 3.0]), np.array([1.0, 5.0]))
    assert figures["rmse"] == pytest.approx(2**0.5) and figures["mae"] == 1 and figures["r2"] == -1


def test_ranking_agrees_with_keras_rs() -> None:
    scores = RANDOM.permutation(6000).astype(np.float32).reshape(60, 100)
    ranks = positions(scores)
    relevant = np.eye(1, 100).repeat(60, 0)
    ours = ranking_figures(ranks, cuts=[10])
    for key, metric in {
        "hr@10": keras_rs.metrics.RecallAtK(k=10),
        "ndcg@10": keras_rs.metrics.NDCG(k=10),
        "mrr": keras_rs.metrics.MeanReciprocalRank(),
    }.items():
        metric.update_state(relevant, scores)
        assert ours[key] == pytest.approx(
            float(keras.ops.convert_to_numpy(metric.result())), rel=1e-5
        )


def test_equal_scores_share_their_rank() -> None:
    assert positions(np.zeros((2, 9)))[0] == 5
    assert positions(np.array([[0, 1, -np.inf]]), np.array([1])).tolist() == [1]


def test_grouped_ndcg_agrees_with_keras_rs() -> None:
    random = np.random.default_rng(3)
    labels, scores = random.integers(0, 2, (30, 20)), random.random((30, 20))
    labels[0] = 0  # a user without a positive does not count
    metric = keras_rs.metrics.NDCG(k=5)
    metric.update_state(labels[1:], scores[1:])
    groups = np.arange(30).repeat(20)
    ours = grouped_ndcg(labels.ravel(), scores.ravel(), groups, k=5)
    assert ours == pytest.approx(float(metric.result()), rel=1e-5)


def test_activity_sorts_users_not_rows() -> None:
    users = codes(list("a" * 40 + "b" * 10 + "c" * 3 + "d" + "abcde"))
    made = activity(users, np.arange(54), np.arange(54, 59), levels=4)
    assert {name: mask.tolist() for name, mask in made.items()} == {
        "users with 0-1 training rows": [False, False, False, True, True],
        "users with 3 training rows": [False, False, True, False, False],
        "users with 10 training rows": [False, True, False, False, False],
        "users with 40 training rows": [True, False, False, False, False],
    }


def test_slices_cover_all_rows_once() -> None:
    table = log()
    rows = np.arange(300, 400)
    made = slices(table, np.arange(300), rows)
    for kind in ("user", "item"):
        assert sum(mask.astype(int) for mask in made[kind].values()).tolist() == [1] * 100
    scored = score_slices(
        LIKE, table.labels["like"][rows], RANDOM.random(100), table.user[rows], made
    )
    assert {row["kind"] for row in scored} == {"activity", "user", "item"}
    assert sum(row["rows"] for row in scored if row["kind"] == "item") == 100
