"""Intervals from recent errors: exact on paper, and on data that change."""

from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.forecasting.interval_scores import (
    head_scores,
    interval_scores,
    with_recent_errors,
)
from moe_apps.pipelines.forecasting.intervals import GRID, calibrated, conformal_quantiles, fewest
from moe_apps.pipelines.forecasting.windows import make_windows, split

LOOK_BACK, HORIZON = 5, 3


@pytest.fixture
def data(numbered):
    """Noise about 0 that is three times as large in the test part, and a gap."""
    random = np.random.default_rng(0)
    values = random.normal(size=3000)
    values[2400:] *= 3
    values[2900:2910] = np.nan
    panel = numbered(values, random.normal(size=3000))
    return make_windows(panel, split(panel), LOOK_BACK, HORIZON)


def nothing(batch):
    return np.zeros_like(batch.target)


def test_upper_and_lower_quantiles_mirror_each_other():
    errors = np.random.default_rng(0).normal(size=(57, 4))
    upper = conformal_quantiles(errors, [0.9])
    np.testing.assert_allclose(conformal_quantiles(-errors, [0.1]), -upper)
    assert upper[0, 0] == np.sort(errors[:, 0])[52]  # the 53rd of 57: ceil(0.9 * 58)


def test_missing_targets_are_no_errors():
    errors = np.arange(1.0, 20.0)[:, None]
    gappy = np.insert(errors, [3, 3, 9], np.nan, axis=0)
    same = conformal_quantiles(errors, [0.05, 0.5, 0.95])
    np.testing.assert_array_equal(conformal_quantiles(gappy, [0.05, 0.5, 0.95]), same)
    for nothing in (np.full((5, 1), np.nan), np.zeros((0, 1))):
        assert conformal_quantiles(nothing, [0.1, 0.5])[:, 0].tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize("level", [50, 80, 95])
def test_so_many_errors_are_enough_and_one_less_is_not(level):
    tail = (1 - level / 100) / 2
    errors = np.arange(float(fewest([level])))[:, None]
    assert np.isfinite(conformal_quantiles(errors, [tail, 1 - tail])).all()
    assert np.isinf(conformal_quantiles(errors[1:], [tail, 1 - tail])).all()


def test_exchangeable_errors_are_covered_as_promised():
    random = np.random.default_rng(1)
    errors = random.exponential(size=(20_000, 40))
    low, high = conformal_quantiles(errors[:, :39].T, [0.1, 0.9])
    inside = ((low <= errors[:, 39]) & (errors[:, 39] <= high)).mean()
    assert 0.8 <= inside < 0.82


def test_no_error_is_known_before_its_targets(data):
    for first, judged in enumerate(with_recent_errors(nothing, data, 50, 7)):
        if first == 0:
            rows = data.test.target_rows(np.array([0]))[0]
            known = data.panel.series[0].values[rows - 50 - HORIZON + 1 : rows]
            last = judged.errors[-1] * data.std[0] + data.mean[0]
            np.testing.assert_allclose(last, known[-HORIZON:], rtol=1e-4)
            assert len(judged.errors) == 50
            assert len(judged.forecast) == 7


def test_recent_errors_follow_a_change_that_old_ones_do_not(data):
    recent = interval_scores(nothing, data, [80, 95], windows=100, renewed=5)
    old = interval_scores(nothing, data, [80, 95], windows=100, renewed=10**6)
    for level in (80, 95):
        one = recent["levels"][str(level)]
        assert abs(one["coverage"] - level) < 4
        assert one["coverage"] > old["levels"][str(level)]["coverage"] + 5
        assert one["winkler"] < old["levels"][str(level)]["winkler"]
        assert one["coverage"] == pytest.approx(np.mean(one["by_step"]["coverage"]), abs=0.1)
    assert recent["crps"] < old["crps"]


def test_crps_and_width_of_noise_are_those_of_a_normal_distribution(numbered):
    panel = numbered(np.random.default_rng(3).normal(size=6000))
    data = make_windows(panel, split(panel), LOOK_BACK, HORIZON)
    found = interval_scores(nothing, data, [80], windows=500, renewed=5)
    assert found["levels"]["80"]["width"] == pytest.approx(2 * 1.2816, rel=0.06)
    assert found["crps"] == pytest.approx(0.5642, rel=0.08)  # 1 / sqrt(pi)


def test_too_few_earlier_windows_are_counted(data):
    found = interval_scores(nothing, data, [95], windows=20)
    assert found["without"] == len(data.test)


def test_wrong_quantiles_are_put_right_by_their_own_errors():
    """Forecast quantiles of half the spread, to the left of it, and of another form."""
    random = np.random.default_rng(2)
    asked = [0.1, 0.5, 0.9]
    size = random.choice([1.0, 5.0], size=(4000, 1))  # known to the forecaster
    target = size * random.normal(size=(4000, 1))
    forecast = np.stack([size * (-0.6 - 1), 0 * size - 1, size * 0.6 - 1], axis=-1)
    errors = (target[..., None] - forecast)[:2000]
    low, middle, high = np.moveaxis(calibrated(forecast[2000:], errors, asked), -1, 0)
    inside = ((low <= target[2000:]) & (target[2000:] <= high)).mean()
    assert 0.77 < inside < 0.83 and (low <= middle).all() and (middle <= high).all()
    width = (high - low)[:, 0]
    wide = size[2000:, 0] > 1
    assert width[wide].mean() > width[~wide].mean() + 3  # what it knew is kept


def test_quantiles_of_a_head_are_scored_with_and_without_calibration(data):
    from scipy.stats import norm

    asked = [*(0.1, 0.9), *GRID]

    def half(batch):  # half the spread of the training part, a sixth of that of the test part
        shape = (*batch.target.shape, len(asked))
        return np.broadcast_to(0.5 * norm.ppf(asked), shape).astype("float32")

    found = head_scores(half, data, [80], windows=100, renewed=5)
    assert abs(found["conformal"]["levels"]["80"]["coverage"] - 80) < 4
    assert found["none"]["levels"]["80"]["coverage"] < 45
    assert found["conformal"]["crps"] < found["none"]["crps"]
    few = head_scores(half, data, [80], windows=3)
    assert few["conformal"] == few["none"]  # too few errors: its own quantiles are what there is
