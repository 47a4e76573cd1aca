from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow.experimental.numpy as tnp

from moe_apps.pipelines.forecasting.calendar import (
    calendar_features,
    cycles_of,
    features_of_seconds,
    step_seconds,
)


@pytest.mark.parametrize(
    ("alias", "names"),
    {
        "15min": ["day", "week", "year"],
        "12h": ["day", "week", "year"],
        "D": ["week", "year"],
        "W": ["year"],
        "MS": ["year"],
        "YS": [],
    }.items(),
)
def test_a_cycle_needs_two_steps(alias, names):
    assert [c.name for c in cycles_of(pd.tseries.frequencies.to_offset(alias))] == names


def test_hours_weekdays_and_seasons_come_back():
    times = pd.date_range("2023-12-30", periods=24 * 400, freq="h")
    features = calendar_features(times, pd.offsets.Hour())
    assert features.shape == (9600, 6) and features.dtype == np.float32
    turns = np.mod(np.arctan2(features[:, ::2], features[:, 1::2]) / (2 * np.pi), 1)
    np.testing.assert_allclose((turns[:, 0] * 24 + 0.01).astype(int), times.hour)
    np.testing.assert_allclose((turns[:, 1] * 7 + 0.001).astype(int), times.day_of_week)
    days = np.abs(turns[:, 2] * 365.2425 - (times.day_of_year - 1) - times.hour / 24)
    assert np.minimum(days, 365.2425 - days).max() < 1.5


def test_the_clock_of_the_zone_counts():
    local = pd.date_range("2024-06-01 08:00", periods=3, freq="h", tz="Europe/Berlin")
    plain = local.tz_localize(None)
    hour = pd.offsets.Hour()
    np.testing.assert_array_equal(calendar_features(local, hour), calendar_features(plain, hour))


def test_numbered_rows_have_no_calendar():
    assert calendar_features(pd.RangeIndex(5), None).shape == (5, 0) and step_seconds(None) == 0


def test_a_graph_computes_the_same():
    step = pd.offsets.Minute(15)
    times = pd.date_range("2030-02-27", periods=500, freq=step)
    seconds = times.as_unit("s").asi8[None]
    same = features_of_seconds(tnp.asarray(seconds), cycles_of(step), tnp)
    np.testing.assert_allclose(same[0], calendar_features(times, step), atol=1e-5)
