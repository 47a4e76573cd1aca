from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.forecasting.readers import read_panel

Csv = Callable[..., Path]


def _hours(count: int, start: str = "2024-01-01") -> list[str]:
    return [str(time) for time in pd.date_range(start, periods=count, freq="h")]


def test_wide_file(csv: Csv) -> None:
    panel = read_panel(csv("date,a,b", *(f"{t},{i},{-i}" for i, t in enumerate(_hours(4)))))
    assert [series.name for series in panel.series] == ["a", "b"]
    assert panel.series[1].values.tolist() == [0, -1, -2, -3]
    assert panel.step == pd.offsets.Hour() and panel.notes == ()


def test_long_file_of_series_of_unequal_length(csv: Csv) -> None:
    rows = [f"x,{t},{i}" for i, t in enumerate(_hours(5))]
    rows += [f"y,{t},{10 + i}" for i, t in enumerate(_hours(3, "2024-01-01 02:00"))]
    panel = read_panel(csv("place,when,load", *rows))
    assert [(s.name, len(s), s.start.hour) for s in panel.series] == [("x", 5, 0), ("y", 3, 2)]


def test_long_file_with_several_values_and_ids(csv: Csv) -> None:
    rows = [
        f"{t},{store},{item},{i},{i + 1}"
        for store in (1, 2)
        for item in "pq"
        for i, t in enumerate(_hours(3))
    ]
    panel = read_panel(csv("ds,store_id,item_id,sales,price", *rows))
    assert [s.name for s in panel.series][:3] == ["1/p/sales", "1/p/price", "1/q/sales"]
    assert len(panel.series) == 8


def test_a_remark_is_not_taken_for_an_id(csv: Csv) -> None:
    rows = [f"{t},{place},{'ab'[i % 2]},{i}" for place in "xy" for i, t in enumerate(_hours(4))]
    panel = read_panel(csv("when,place,weather,load", *rows))
    assert [series.name for series in panel.series] == ["x", "y"]
    assert panel.notes == ("columns skipped, they hold no numbers: weather",)


def test_named_columns_decide(csv: Csv) -> None:
    path = csv("t1,t2,k,a,b", *(f"{t},{t},1,{i},x" for i, t in enumerate(_hours(3))))
    panel = read_panel(path, time_column="t2", id_columns=["k"], value_columns=["a"])
    assert [series.name for series in panel.series] == ["1"]
    for role in ("id_columns", "value_columns"):
        with pytest.raises(DataError, match="column 'q', found"):
            read_panel(path, time_column="t2", **{role: ["q"]})


def test_parquet_equals_csv(csv: Csv, tmp_path: Path) -> None:
    path = csv("date,a", *(f"{t},{i}" for i, t in enumerate(_hours(4))))
    pd.read_csv(path, parse_dates=["date"]).to_parquet(tmp_path / "a.parquet")
    assert read_panel(tmp_path / "a.parquet").digest() == read_panel(path).digest()


def test_counters_and_parts_of_the_date_are_not_forecast(csv: Csv) -> None:
    panel = read_panel(csv(",date,hour,a", *(f"{i},{t},{i},{i}" for i, t in enumerate(_hours(3)))))
    assert [series.name for series in panel.series] == ["a"]
    assert any("Unnamed: 0" in note for note in panel.notes)
    assert any("parts of the date: hour" in note for note in panel.notes)


def test_unsorted_repeated_and_missing_rows(csv: Csv) -> None:
    t = _hours(6)
    panel = read_panel(
        csv("date,a", f"{t[1]},1", f"{t[0]},0", f"{t[1]},1", f"{t[5]},5", f"{t[2]},2")
    )
    series = panel.series[0]
    assert series.values.tolist() == [0, 1, 2, 2, 2, 5]
    assert series.observed.tolist() == [True, True, True, False, False, True]
    assert panel.notes == (
        "rows out of time order, sorted: all series 2",
        "repeated rows dropped: all series 1",
        "missing time stamps inserted: all series 2",
    )


def test_missing_values_are_filled_marked_and_counted(csv: Csv) -> None:
    cells = ["", "NA", "1", "inf", "2", "NaN"]
    path = csv("date,a,b", *(f"{t},{c},1" for t, c in zip(_hours(6), cells, strict=True)))
    panel = read_panel(path)
    assert panel.series[0].values.tolist() == [1, 1, 1, 1, 2, 2]
    assert panel.series[0].observed.tolist() == [False, False, True, False, True, False]
    assert "missing values filled: a 4" in panel.notes
    assert "constant series kept: b" in panel.notes


def test_column_without_a_value_is_left_out(csv: Csv) -> None:
    path = csv("date,a,b", *(f"{t},,{i}" for i, t in enumerate(_hours(3))))
    panel = read_panel(path)
    assert [series.name for series in panel.series] == ["b"]
    assert panel.notes == ("left out, no value at all: a",)
    with pytest.raises(DataError, match="no value in any value column"):
        read_panel(path, value_columns=["a"])


def test_one_stamp_with_two_values_names_both_rows(csv: Csv) -> None:
    t = _hours(3)
    path = csv("date,a", f"{t[0]},0", f"{t[1]},1", f"{t[2]},2", f"{t[1]},9")
    with pytest.raises(DataError, match=r"row 5, time stamp 2024-01-01 01:00:00 has .* in row 3"):
        read_panel(path)


def test_stamps_off_the_grid(csv: Csv) -> None:
    times = _hours(12)
    times[4] = "2024-01-01 04:02:00"
    panel = read_panel(csv("date,a", *(f"{t},{i}" for i, t in enumerate(times))))
    assert panel.notes == ("time stamps moved onto the grid: all series 1",)
    assert panel.series[0].observed.all() and len(panel.series[0]) == 12
    times[4] = "2024-01-01 04:30:00"
    with pytest.raises(
        DataError, match=r"row 6, time stamp 2024-01-01 04:30:00 is off the regular"
    ):
        read_panel(csv("date,a", *(f"{t},{i}" for i, t in enumerate(times))))


def test_frequency_overrides_the_inferred_step(csv: Csv) -> None:
    path = csv("date,a", *(f"{t},{i}" for i, t in enumerate(_hours(3))))
    assert len(read_panel(path, frequency="30min").series[0]) == 5
    with pytest.raises(ConfigError, match="frequency 'often'"):
        read_panel(path, frequency="often")
    with pytest.raises(DataError, match="single time stamp"):
        read_panel(csv("date,a", "2024-01-01,1"))


def test_rows_without_time_only_when_asked(csv: Csv) -> None:
    path = csv("a,b", "1,2", ",3", "4,5")
    with pytest.raises(DataError, match="time_column=none"):
        read_panel(path)
    panel = read_panel(path, time_column="none")
    assert panel.step is None and panel.series[0].values.tolist() == [1, 1, 4]
    ids = read_panel(csv("id,a", "x,1", "y,2", "x,3", "y,4"), time_column="none")
    assert [(s.name, s.values.tolist()) for s in ids.series] == [("x", [1, 3]), ("y", [2, 4])]


def test_daylight_saving_does_not_break_days(tmp_path: Path) -> None:
    times = pd.date_range("2024-03-01", periods=60, freq="D", tz="Europe/Berlin")
    pd.DataFrame({"date": times, "a": np.arange(60)}).to_parquet(tmp_path / "a.parquet")
    panel = read_panel(tmp_path / "a.parquet")
    assert panel.step == pd.offsets.Day() and panel.series[0].observed.all()
    assert {time.hour for time in panel.times(panel.series[0])} == {0}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["date,a", "2024-01-01,1", "2024-01-02,many", "2024-01-03,3"], "row 3, column 'a'"),
        (["date,a", "2024-01-01,x", "2024-01-02,y"], "no column of numbers to forecast among a"),
        (["date", "2024-01-01", "2024-01-02"], "no column of numbers"),
        (["date,id,a", "2024-01-01,x,1", "2024-01-02,x,2", "2024-01-03,,3"], "row 4, blank in id"),
    ],
)
def test_bad_content_is_a_one_line_error(csv: Csv, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_panel(csv(*lines))
    assert "\n" not in str(caught.value) and "data.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "length", "step"),
    [("ETTh1.csv", 7, 17420, "h"), ("exchange_rate.csv", 8, 7588, "D")],
)
def test_benchmark_files(shared_data: Path, name: str, count: int, length: int, step: str) -> None:
    panel = read_panel(shared_data / "forecasting" / name)
    assert [len(series) for series in panel.series] == [length] * count
    assert panel.step == pd.tseries.frequencies.to_offset(step) and panel.notes == ()
    assert all(series.observed.all() for series in panel.series)


def test_series_of_another_time_step_are_named(csv: Csv) -> None:
    rows = [f"a,{t},1" for t in _hours(50)]
    rows += [f"b,{t},1" for t in _hours(480)[::24]]
    path = csv("id,when,load", *rows)
    with pytest.raises(DataError, match=r"row 52, b: no two rows are one step of h apart"):
        read_panel(path)
    assert len(read_panel(path, frequency="h").series) == 2


def test_one_id_twice_is_named(csv: Csv) -> None:
    rows = [f"a,{t},{k}" for k in (1, 2) for t in _hours(4)]
    with pytest.raises(DataError, match=r"time stamp 2024-01-01 00:00:00 of a has other values"):
        read_panel(csv("id,when,load", *rows))


def test_stamps_with_and_without_a_zone_are_refused(csv: Csv) -> None:
    rows = ["2024-01-01 00:00,1", "2024-01-01 01:00+01:00,2", "2024-01-01 02:00,3"]
    with pytest.raises(DataError, match="time"):
        read_panel(csv("when,load", *rows))
