from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.forecasting.stamps import TimeColumn, find_times
from moe_apps.pipelines.forecasting.tables import Table


def _find(named: str | None = None, **columns: list[Any]) -> TimeColumn:
    frame = pd.DataFrame(columns)
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return find_times(Table(Path("a.csv"), frame), named)


@pytest.mark.parametrize(
    ("cells", "second"),
    [
        (["1990/1/1 0:00", "1990/1/2 0:00"], "1990-01-02"),
        (["2016-07-01 00:00:00", "2016-07-01 01:00:00"], "2016-07-01 01:00"),
        (["2016-07-01", "2016-07-01 01:00:00"], "2016-07-01 01:00"),
        (["2016-07", "2016-08"], "2016-08-01"),
        (["01/02/2016", "13/02/2016"], "2016-02-13"),
        (["01.02.2016 12:30", "13.02.2016 12:30"], "2016-02-13 12:30"),
        (["12/31/2016", "1/2/2017"], "2017-01-02"),
        (["7/1/2016 1:00 PM", "7/1/2016 2:00 PM"], "2016-07-01 14:00"),
        (["Jul 2016", "Aug 2016"], "2016-08-01"),
        ([20160701, 20160702], "2016-07-02"),
        ([2016, 2017], "2017-01-01"),
        ([1467331200, 1467334800], "2016-07-01 01:00"),
        ([1467331200000, 1467334800000], "2016-07-01 01:00"),
        ([pd.Timestamp("2016-07-01"), pd.Timestamp("2016-07-02")], "2016-07-02"),
    ],
)
def test_forms_of_time(cells: list[Any], second: str) -> None:
    assert _find(date=cells).times[1] == pd.Timestamp(second)


def test_ambiguous_order_is_month_first_and_said() -> None:
    found = _find(date=["01/02/2016", "02/02/2016"])
    assert found.times[0] == pd.Timestamp("2016-01-02")
    assert found.notes == ("dates fit month first and day first, and were read month first",)


def test_zone_is_kept_and_mixed_offsets_become_utc() -> None:
    kept = _find(date=["2016-01-01T06:00:00-05:00", "2016-01-01T07:00:00-05:00"])
    assert kept.times[0].hour == 6 and "time zone" in kept.notes[0]
    mixed = _find(date=["2016-03-27T01:00:00+01:00", "2016-03-27T03:00:00+02:00"])
    assert str(mixed.times.tz) == "UTC" and (mixed.times[1] - mixed.times[0]).seconds == 3600


def test_column_is_found_by_name_before_position_and_text_before_numbers() -> None:
    days = ["2016-01-01", "2016-01-02"]
    assert _find(other=days, timestamp=days).name == "timestamp"
    assert _find(year=[2016, 2016], label=["a", "b"], x=days).name == "x"
    assert _find(value=[20160701, 20160702], year=[2016, 2017]).name == "year"


def test_no_time_column() -> None:
    with pytest.raises(DataError, match=r"no time column among a, b; .* time_column=none"):
        _find(a=[1.5, 2.5], b=["x", "y"])


def test_named_column_must_exist_and_hold_times() -> None:
    with pytest.raises(DataError, match=r"no time column 'dat', found date; did you mean 'date'"):
        _find("dat", date=["2016-01-01"])
    with pytest.raises(DataError, match=r"column 'a' holds no time stamps, found 'x'"):
        _find("a", a=["x", "y"])


@pytest.mark.parametrize(("cell", "said"), [("soon", "'soon'"), (None, "a blank")])
def test_bad_cell_is_named_with_its_row(cell: str | None, said: str) -> None:
    with pytest.raises(DataError, match=rf"a\.csv: row 4, column 'date': found {said}"):
        _find(date=["2016-01-01", "2016-01-02", cell, "2016-01-04"])
