from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.recommendation.uplift import gain_curve, uplift_figures


def experiment(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, treatment and true effect, which is 0 to 0.4 and even over the rows."""
    random = np.random.default_rng(0)
    effect = random.uniform(0, 0.4, rows)
    treated = random.random(rows) < 0.5
    outcome = (random.random(rows) < 0.2 + effect * treated).astype(float)
    return outcome, treated, effect


def test_the_true_effect_has_the_area_that_it_must_have() -> None:
    outcome, treated, effect = experiment()
    figures = uplift_figures(outcome, treated, effect)
    # Effect at share s is 0.4 (1 - s): gain 0.4 s - 0.2 s^2, area 0.2 - 0.0667, chord 0.1.
    assert figures["effect"] == pytest.approx(0.2, abs=0.02)
    assert figures["auuc"] == pytest.approx(0.1333, abs=0.015)
    assert figures["qini"] == pytest.approx(0.0333, abs=0.008)
    worst = uplift_figures(outcome, treated, -effect)
    assert worst["qini"] == pytest.approx(-figures["qini"], abs=0.003)


def test_one_score_for_all_is_the_chord() -> None:
    outcome, treated, _ = experiment(500)
    figures = uplift_figures(outcome, treated, np.ones(500))
    assert figures["qini"] == pytest.approx(0, abs=1e-12)


def test_curve_by_counting() -> None:
    outcome, treated, effect = experiment(300)
    effect = np.round(effect, 2)
    curve = gain_curve(outcome, treated, effect)
    for share, gain in curve.to_numpy()[1:]:
        kept = np.argsort(-effect, kind="stable")[: round(share * 300)]
        t = treated[kept]
        controls = (~t).sum()
        unasked = outcome[kept][~t].sum() * t.sum() / controls if controls else 0
        assert gain == pytest.approx((outcome[kept][t].sum() - unasked) / treated.sum())


def test_rows_without_outcome_and_empty_arms() -> None:
    outcome, treated, effect = experiment(200)
    outcome[:50] = np.nan
    assert uplift_figures(outcome, treated, effect) == uplift_figures(
        outcome[50:], treated[50:], effect[50:]
    )
    assert uplift_figures(outcome, np.ones(200, bool), effect)["qini"] is None
