"""Routing read by hour, weekday and series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moe_apps.pipelines.forecasting.panel import Panel, Series
from moe_apps.pipelines.forecasting.routing import _specialisation, routing_summary
from moe_apps.pipelines.forecasting.shuffled_control import ShuffledControl
from moe_apps.pipelines.forecasting.windows import make_windows, split

LOOK_BACK = 24


@pytest.fixture
def data():
    """Two hourly series whose values are the hour of day, so that a router can know it."""
    start = pd.Timestamp("2024-01-01")
    hours = np.arange(400) % 24.0
    series = (
        Series("a", start, hours, np.ones(400, bool)),
        Series("b", start, hours + 100, np.ones(400, bool)),
    )
    panel = Panel(series, pd.offsets.Hour())
    return make_windows(panel, split(panel), LOOK_BACK, 4)


def by_value(data, choose):
    """A router of one layer and two experts: the expert is a function of the unscaled value."""

    def routing(batch):
        values = batch.history * data.std[0] + data.mean[0]
        expert = choose(values).astype(int)
        return np.eye(2)[expert][:, :, None, :]

    return routing


def test_an_expert_for_the_afternoon_is_found(data):
    # Both series look alike once scaled, so the value tells the hour and nothing else.
    summary = routing_summary(by_value(data, lambda v: np.round(v) >= 12), data.test, data)
    hours = summary["by_hour"]
    assert hours["03"] == [[1.0, 0.0]] and hours["15"] == [[0.0, 1.0]]
    assert summary["specialisation"]["hour"][0] == pytest.approx(1.0)
    assert summary["specialisation"]["series"][0] == pytest.approx(0.0, abs=1e-9)
    assert list(hours) == sorted(hours) and set(summary["by_series"]) == {"a", "b"}
    assert summary["active_experts"] == 1.0


def test_no_point_counts_twice(data):
    summary = routing_summary(by_value(data, lambda v: v > 1e9), data.test, data)
    assert summary["points"] % LOOK_BACK == 0
    assert summary["points"] <= 2 * (len(data.splits[0].test) + LOOK_BACK)
    assert summary["load"] == [[1.0, 0.0]] and summary["load_entropy"] == [0.0]


def test_numbered_rows_have_no_hours(numbered):
    panel = numbered(np.arange(200.0))
    data = make_windows(panel, split(panel), LOOK_BACK, 4)
    summary = routing_summary(by_value(data, lambda v: v > 100), data.test, data)
    assert "by_hour" not in summary and "by_weekday" not in summary


def test_windows_routed_as_a_whole_count_at_their_first_target(data):
    def routing(batch):
        first = batch.history[:, 0] * data.std[0] + data.mean[0]  # the hour, a day before
        return np.eye(2)[(np.round(first) >= 12).astype(int)][:, None, None, :]

    summary = routing_summary(routing, data.test, data)
    assert summary["points"] == len(data.test)
    hours = summary["by_hour"]
    assert hours["03"] == [[1.0, 0.0]] and hours["15"] == [[0.0, 1.0]]


def test_shuffled_labels_tell_what_is_known_from_what_is_not(data):
    control = routing_summary(by_value(data, lambda v: np.round(v) >= 12), data.test, data)[
        "control"
    ]
    assert control["hour"]["p_value"] == [1 / 200] and control["hour"]["shuffled"][0] < 0.2
    assert control["series"]["p_value"][0] > 0.05
    random = np.random.default_rng(0)
    nothing = by_value(data, lambda v: random.random(v.shape) < 0.5)
    chance = routing_summary(nothing, data.test, data)
    for factor in ("hour", "weekday", "series"):
        assert chance["control"][factor]["p_value"][0] > 0.01
        # With few points a group, chance alone looks like knowledge: that is what it is for.
        assert 0 < chance["control"][factor]["shuffled"][0] < 0.3


def test_experts_for_winter_and_for_a_series_are_told_from_chance():
    """Two daily series of 2500 days whose values are the numbers of their rows."""
    start, rows = pd.Timestamp("2018-01-01"), np.arange(2500.0)
    both = tuple(Series(name, start, rows, np.ones(2500, bool)) for name in "ab")
    panel = Panel(both, pd.offsets.Day())
    data = make_windows(panel, split(panel, test_fraction=0.28), LOOK_BACK, 4)
    months = panel.times(both[0]).month.to_numpy()

    def winter(batch):
        row = batch.target[:, 0] * data.std[0] + data.mean[0]
        return np.isin(months[np.round(row).astype(int)], (12, 1, 2))

    def read(choose):
        def routing(batch):  # of windows as a whole
            return np.eye(2)[choose(batch).astype(int)][:, None, None, :]

        return routing_summary(routing, data.test, data)

    summary = read(winter)
    assert list(summary["by_season"]) == ["Dec-Feb", "Mar-May", "Jun-Aug", "Sep-Nov"]
    assert summary["by_season"]["Dec-Feb"] == [[0.0, 1.0]]
    assert summary["by_season"]["Jun-Aug"] == [[1.0, 0.0]]
    assert summary["control"]["season"]["p_value"] == [1 / 200]
    assert summary["control"]["series"]["p_value"][0] > 0.05
    of_series = read(lambda batch: batch.series == 1)
    assert of_series["control"]["series"]["p_value"] == [1 / 200]
    assert of_series["control"]["season"]["p_value"][0] > 0.05


def test_what_only_lasts_is_no_knowledge():
    """An expert that takes turns of 40 days by chance knows no season, though turns are long."""
    random = np.random.default_rng(3)
    labels = np.repeat(["winter", "spring", "summer", "autumn"], 90)
    small = 0
    for _ in range(20):
        expert = np.repeat(random.integers(0, 2, 9), 40)
        control = ShuffledControl(1)
        control.add(np.eye(2)[expert][:, None, :], {"season": labels})
        small += control.result(_specialisation)["season"]["p_value"][0] <= 0.05
    assert small < 16  # single labels in random order would find it every time
