from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from moe_apps.pipelines.forecasting.panel import Notes, Panel, Series, fill_missing


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, np.nan, np.inf]), min_size=1, max_size=12))
def test_filling_agrees_with_a_plain_loop(values: list[float]) -> None:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return
    expected, last = [], finite[0]
    for value in values:
        last = value if np.isfinite(value) else last
        expected.append(last)
    filled, observed = fill_missing(np.array(values))
    assert filled.tolist() == expected
    assert observed.tolist() == [bool(np.isfinite(value)) for value in values]


def _panel(start: pd.Timestamp | int, step: pd.offsets.BaseOffset | None, last: float = 3) -> Panel:
    return Panel((Series("a", start, np.array([1.0, 2.0, last]), np.ones(3, bool)),), step)


def test_times_and_future_follow_the_step() -> None:
    panel = _panel(pd.Timestamp("2024-01-31"), pd.offsets.MonthEnd())
    assert [str(t.date()) for t in panel.times(panel.series[0])][-1] == "2024-03-31"
    assert [str(t.date()) for t in panel.future(panel.series[0], 2)] == ["2024-04-30", "2024-05-31"]


def test_numbered_rows_have_numbers_for_times() -> None:
    panel = _panel(5, None)
    assert list(panel.times(panel.series[0])) == [5, 6, 7]
    assert list(panel.future(panel.series[0], 2)) == [8, 9]


def test_daily_steps_keep_the_wall_clock_across_a_change_of_the_clock() -> None:
    panel = _panel(pd.Timestamp("2024-03-30", tz="Europe/Berlin"), pd.offsets.Day())
    assert {t.hour for t in panel.times(panel.series[0])} == {0}


def test_digest_sees_values_mask_start_and_step() -> None:
    day = pd.offsets.Day()
    base = _panel(pd.Timestamp("2024-01-01"), day)
    others = [
        _panel(pd.Timestamp("2024-01-02"), day),
        _panel(pd.Timestamp("2024-01-01"), pd.offsets.Hour()),
        _panel(pd.Timestamp("2024-01-01"), day, last=4),
        Panel((Series("a", base.series[0].start, base.series[0].values, np.zeros(3, bool)),), day),
    ]
    assert len({panel.digest() for panel in [base, *others]}) == 5
    assert base.digest() == _panel(pd.Timestamp("2024-01-01"), day).digest()


def test_many_findings_of_a_kind_make_one_line() -> None:
    notes = Notes()
    for i in range(20):
        notes.add("filled", f"s{i}", i)
    (line,) = notes.lines()
    assert line.startswith("filled: s1 1, s2 2") and line.endswith("and 7 more")
