from __future__ import annotations

import pandas as pd
import pytest

from moe_apps.errors import ConfigError
from moe_apps.pipelines.forecasting.grid import infer_step, parse_step, place


@pytest.mark.parametrize("alias", ["s", "15min", "h", "6h", "D", "B", "7D", "MS", "ME", "3MS"])
def test_step_is_inferred_despite_gaps(alias: str) -> None:
    times = pd.date_range("2021-01-04", periods=40, freq=alias)
    gappy = times.delete([5, 6, 20])
    assert infer_step([gappy[:0], gappy, gappy[:1]]) == pd.tseries.frequencies.to_offset(alias)


def test_quarters_and_years_are_counted_in_months() -> None:
    for alias, months in (("QS", 3), ("YS", 12)):
        times = pd.date_range("2001-01-01", periods=9, freq=alias)
        assert infer_step([times]) == pd.offsets.MonthBegin(months)


def test_no_step_without_two_stamps() -> None:
    assert infer_step([pd.DatetimeIndex(["2024-01-01"])]) is None


@pytest.mark.parametrize("alias", ["often", "0h", "-1D", ""])
def test_bad_step_is_a_config_error(alias: str) -> None:
    with pytest.raises(ConfigError, match="is not a time step"):
        parse_step(alias)


@pytest.mark.parametrize("alias", ["h", "D", "B", "MS", "W-MON"])
def test_regular_stamps_stay_where_they_are(alias: str) -> None:
    times = pd.date_range("2024-01-01 00:05", periods=6, freq=alias)
    placed = place(times.delete(2), parse_step(alias))
    assert placed.start == times[0] and placed.positions.tolist() == [0, 1, 3, 4, 5]
    assert placed.length == 6 and not placed.moved.any() and not placed.off.any()


def test_phase_is_the_most_common_not_the_first() -> None:
    times = pd.DatetimeIndex(["2024-01-01 00:03", "2024-01-01 01:00", "2024-01-01 02:00"])
    placed = place(times, pd.offsets.Hour())
    assert placed.start == pd.Timestamp("2024-01-01") and placed.moved.tolist() == [
        True,
        False,
        False,
    ]


def test_stamps_between_grid_points_are_off() -> None:
    times = pd.DatetimeIndex(["2024-01-01 00:00", "2024-01-01 01:20", "2024-01-01 02:00"])
    assert place(times, pd.offsets.Hour()).off.tolist() == [False, True, False]


def test_absurd_step_is_refused_before_its_grid_is_made() -> None:
    times = pd.DatetimeIndex(["1980-01-01", "1980-01-01 00:00:01", "2024-01-01"])
    with pytest.raises(ValueError, match="is the step right"):
        place(times, pd.offsets.Second())
