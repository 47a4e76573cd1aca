from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.forecasting.panel import Panel, Series
from moe_apps.pipelines.forecasting.readers import read_panel
from moe_apps.pipelines.forecasting.windows import (
    Split,
    WindowedPanel,
    Windows,
    make_windows,
    split,
)

Numbered = Callable[..., Panel]


def _ramp(*lengths: int) -> Panel:
    return Panel(
        tuple(
            Series(f"s{i}", 0, np.arange(n) * 1.0, np.ones(n, bool)) for i, n in enumerate(lengths)
        ),
        None,
    )


def _parts(data: WindowedPanel) -> dict[str, Windows]:
    return {"train": data.train, "validation": data.validation, "test": data.test}


@pytest.mark.parametrize(("step", "rows"), [("h", 1), ("15min", 4)])
def test_ett_months(step: str, rows: int) -> None:
    length = 17_420 * rows
    series = Series("a", pd.Timestamp("2016-07-01"), np.zeros(length), np.ones(length, bool))
    (one,) = split(Panel((series,), pd.tseries.frequencies.to_offset(step)), "ett")
    ends = [8640 * rows, 11_520 * rows, 14_400 * rows]
    assert one == Split(range(0, ends[0]), range(ends[0], ends[1]), range(ends[1], ends[2]))


def test_ett_refuses_other_steps_and_short_series() -> None:
    short = Series("a", pd.Timestamp("2016-07-01"), np.zeros(900), np.ones(900, bool))
    with pytest.raises(DataError, match="found a step of D"):
        split(Panel((short,), pd.offsets.Day()), "ett")
    with pytest.raises(DataError, match="'a' has 900 rows; protocol ett needs 14400"):
        split(Panel((short,), pd.offsets.Hour()), "ett")


@pytest.mark.parametrize(
    ("rows", "counts"),
    [(7588, (5311, 760, 1517)), (966, (676, 97, 193)), (52_696, (36_887, 5270, 10_539))],
)
def test_fractions_of_the_benchmarks(rows: int, counts: tuple[int, int, int]) -> None:
    assert tuple(map(len, split(_ramp(rows))[0].parts())) == counts


@pytest.mark.parametrize(("train", "test"), [(0.0, 0.2), (0.7, 0.0), (0.8, 0.2), (1.5, -0.6)])
def test_fractions_must_leave_a_validation_part(train: float, test: float) -> None:
    with pytest.raises(ConfigError, match="leave a part between them"):
        split(_ramp(100), train_fraction=train, test_fraction=test)


def test_overlapping_split_is_refused() -> None:
    with pytest.raises(DataError, match="overlap"):
        Split(range(0, 8), range(7, 9), range(9, 10))


@given(
    lengths=st.lists(st.integers(40, 90), min_size=1, max_size=3),
    look_back=st.integers(1, 12),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 3),
    train=st.floats(0.4, 0.7),
)
def test_no_target_is_in_two_splits_nor_outside_its_series(
    lengths: list[int], look_back: int, horizon: int, stride: int, train: float
) -> None:
    panel = _ramp(*lengths)
    splits = split(panel, train_fraction=train, test_fraction=0.15)
    data = make_windows(panel, splits, look_back, horizon, stride=stride)
    for name, windows in _parts(data).items():
        first = windows.target_rows(np.arange(len(windows)))
        for row, start, index in zip(first, windows.starts, windows.series_index, strict=True):
            allowed = getattr(data.splits[index], name)
            assert row in allowed and row + horizon - 1 in allowed
            assert start >= windows.offsets[index]
    for i, one in enumerate(data.splits):
        counts = [int((w.series_index == i).sum()) for w in (data.validation, data.test)]
        assert counts == [len(one.validation) - horizon + 1, len(one.test) - horizon + 1]
        targets = len(range(0, len(one.train) - horizon + 1, stride))
        assert (data.train.series_index == i).sum() <= targets


def test_scaler_sees_observed_training_rows_only(numbered: Numbered) -> None:
    values = np.random.default_rng(0).normal(5, 3, 100)
    values[3] = np.nan
    train = values[:70][~np.isnan(values[:70])]
    later = np.concatenate([values[:70], values[70:] * 100])
    for panel in (numbered(values), numbered(later)):
        data = make_windows(panel, split(panel), 8, 2)
        np.testing.assert_allclose([data.mean[0], data.std[0]], [train.mean(), train.std()])


def test_constant_training_rows_scale_by_one(numbered: Numbered) -> None:
    panel = numbered(np.full(100, 7.0))
    data = make_windows(panel, split(panel), 8, 2)
    assert data.std[0] == 1 and (data.test.values == 0).all()


def test_windows_hold_what_the_series_holds(numbered: Numbered) -> None:
    values = np.random.default_rng(1).normal(size=(2, 80))
    values[1, 50] = np.nan
    panel = numbered(*values)
    data = make_windows(panel, split(panel), 5, 3)
    for windows in _parts(data).values():
        batch = windows.gather(np.arange(len(windows)))
        rows = windows.target_rows(np.arange(len(windows)))
        for i, (row, one) in enumerate(zip(rows, batch.series, strict=True)):
            source = panel.series[one]
            history = data.unscale(batch.history, batch.series)[i]
            target = data.unscale(batch.target, batch.series)[i]
            np.testing.assert_allclose(history, source.values[row - 5 : row], atol=1e-5)
            np.testing.assert_allclose(target, source.values[row : row + 3], atol=1e-5)
            assert (batch.history_observed[i] == source.observed[row - 5 : row]).all()
            assert (batch.target_observed[i] == source.observed[row : row + 3]).all()


def test_batches_hold_every_window_once_and_in_order() -> None:
    panel = _ramp(100)
    windows = make_windows(panel, split(panel), 8, 2).train
    sizes = [len(batch.target) for batch in windows.batches(16)]
    assert sizes == [16, 16, 16, 13] and sum(sizes) == len(windows)
    stacked = np.concatenate([batch.target for batch in windows.batches(16)])
    np.testing.assert_array_equal(stacked, windows.gather(np.arange(len(windows))).target)


def test_history_before_the_series_is_left_out_and_counted() -> None:
    one, late = (
        Split(range(30), range(30, 60), range(60, 100)),
        Split(range(50, 90), range(90, 94), range(94, 100)),
    )
    data = make_windows(_ramp(100, 100), (one, late), 20, 4)
    assert data.train.left_out == 20 and len(data.train) == (30 - 3 - 20) + (40 - 3)
    assert data.validation.left_out == data.test.left_out == 0
    assert data.notes == (
        "windows left out, their history would begin before the series: train 20",
    )


def test_short_series_are_skipped_with_a_note() -> None:
    panel = _ramp(100, 12)
    data = make_windows(panel, split(panel), 16, 4)
    assert [series.name for series in data.panel.series] == ["s0"]
    assert data.notes[0] == "series skipped, too short or empty for training: s1"


def test_no_series_long_enough_says_what_fits() -> None:
    panel = _ramp(100, 60)
    with pytest.raises(DataError, match=r"'s0', has 70 \(of 100 rows\); a look-back of at most 60"):
        make_windows(panel, split(panel), 96, 10)
    with pytest.raises(DataError, match="lower the horizon too"):
        make_windows(panel, split(panel), 96, 96)


def test_nothing_observed_in_training(numbered: Numbered) -> None:
    panel = numbered(np.concatenate([np.full(70, np.nan), np.ones(30)]))
    with pytest.raises(DataError, match="no value is observed in the training rows"):
        make_windows(panel, split(panel), 8, 2)


def test_split_without_a_window_is_named() -> None:
    panel = _ramp(100)
    with pytest.raises(DataError, match=r"no validation window: .* 10 rows"):
        make_windows(panel, split(panel), 8, 11)


@pytest.mark.parametrize("name", ["look_back", "horizon", "stride", "evaluation_stride"])
def test_lengths_and_strides_are_at_least_one(name: str) -> None:
    panel = _ramp(100)
    settings = {"look_back": 8, "horizon": 2, name: 0}
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        make_windows(panel, split(panel), **settings)


def test_window_counts_of_the_benchmarks(shared_data: Path) -> None:
    etth1 = read_panel(shared_data / "forecasting" / "ETTh1.csv")
    exchange = read_panel(shared_data / "forecasting" / "exchange_rate.csv")
    for horizon, etth_test, exchange_test in (
        (96, 2785, 1422),
        (192, 2689, 1326),
        (336, 2545, 1182),
        (720, 2161, 798),
    ):
        for look_back in (96, 512):
            data = make_windows(etth1, split(etth1, "ett"), look_back, horizon)
            assert len(data.test) == 7 * etth_test
            assert len(data.train) == 7 * (8640 - look_back - horizon + 1)
        assert len(make_windows(exchange, split(exchange), 96, horizon).test) == 8 * exchange_test
