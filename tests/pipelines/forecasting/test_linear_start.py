"""The closed form beside plain regressions, and what it is chosen by."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from moe_apps.pipelines.forecasting import linear_start as module
from moe_apps.pipelines.forecasting.linear_start import linear_start
from moe_apps.pipelines.forecasting.windows import make_windows, split

LOOK_BACK, HORIZON, SEASON = 12, 3, 4


@pytest.fixture
def data(numbered):
    random = np.random.default_rng(0)
    steps = np.arange(260)
    waves = [np.sin(steps / 2) * 3 + random.normal(size=260), np.cumsum(random.normal(size=260))]
    panel = numbered(*waves)
    return make_windows(panel, split(panel), LOOK_BACK, HORIZON)


def everything(windows):
    return windows.gather(np.arange(len(windows)))


@pytest.mark.parametrize("name, count", [("season", SEASON), ("last", 1), ("mean", 6)])
def test_one_member_is_a_ridge_on_windows_less_their_centre(data, monkeypatch, name, count):
    monkeypatch.setattr(module, "PENALTIES", np.array([1e-2, 1e-2]))
    centre = np.zeros(LOOK_BACK)
    centre[LOOK_BACK - count :] = 1 / count
    moments = module.normal_equations(data.train)
    _, weights = module._best_penalty(moments, moments, centre, 6)
    batch = everything(data.train)
    middle = (batch.history @ centre)[:, None]
    seen = batch.history[:, -6:] - middle
    penalty = 1e-2 * np.mean(np.square(seen).sum(axis=0))
    ridge = Ridge(penalty, fit_intercept=False).fit(seen, batch.target - middle)
    test = everything(data.test)
    middle = (test.history @ centre)[:, None]
    expected = ridge.predict(test.history[:, -6:] - middle) + middle
    mean = test.history.mean(axis=1, keepdims=True)
    np.testing.assert_allclose((test.history - mean) @ weights + mean, expected, atol=1e-3)


def test_the_average_is_no_worse_on_validation_than_any_member(data):
    found = linear_start(data.train, data.validation, SEASON)
    assert 1 <= len(found.members) <= 3 and len(set(found.members)) == len(found.members)
    seen = module.normal_equations(data.validation)
    moments = module.normal_equations(data.train)
    error = module._error(found.weights, seen)
    for count in (1, SEASON):
        centre = np.zeros(LOOK_BACK)
        centre[-count:] = 1 / count
        assert error <= module._best_penalty(moments, seen, centre, LOOK_BACK)[0] + 1e-9


def test_the_test_part_does_not_choose(data, numbered):
    found = linear_start(data.train, data.validation, SEASON)
    values = [series.values.copy() for series in data.panel.series]
    for series, one in zip(values, data.splits, strict=True):
        series[one.test.start :] = 99.0
    panel = numbered(*values)
    again = make_windows(panel, split(panel), LOOK_BACK, HORIZON)
    other = linear_start(again.train, again.validation, SEASON)
    np.testing.assert_array_equal(other.weights, found.weights)
