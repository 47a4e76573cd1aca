from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.recommendation.parts import Split, check_split, cold_shares
from moe_apps.pipelines.recommendation.splits import Method, assign, split
from moe_apps.pipelines.recommendation.table import Table
from recommendation_tables import codes, log


def test_random_takes_its_shares_and_repeats_by_seed() -> None:
    made = split(log(), "random", seed=1)
    assert [len(made.train), len(made.validation), len(made.test)] == [320, 40, 40]
    assert made.test.tolist() == split(log(), "random", seed=1).test.tolist()
    assert made.test.tolist() != split(log(), "random", seed=2).test.tolist()


def test_time_keeps_an_instant_together_and_leaves_out_rows_without_time() -> None:
    table = log()
    made = split(table, "time")
    assert table.time is not None
    assert table.time[made.train].max() < table.time[made.validation].min()
    assert table.time[made.validation].max() < table.time[made.test].min()
    assert made.left_out == np.isnan(table.time).sum() > 0


def test_within_each_user_the_last_rows_are_test() -> None:
    user = codes(["a"] * 10 + ["b"] * 4)
    time = np.r_[np.arange(10)[::-1], np.arange(4)].astype(float)
    table = Table({}, {"y": np.zeros(14, np.float32)}, user=user, time=time)
    made = split(table, "user_time", validation_fraction=0.1, test_fraction=0.2)
    assert made.test.tolist() == [0, 1] and made.validation.tolist() == [2]
    last = split(table, "leave_last_out")
    assert last.test.tolist() == [0, 13] and last.validation.tolist() == [1, 12]


def test_users_of_two_rows_are_never_left_out() -> None:
    table = Table(
        {}, {"y": np.zeros(5, np.float32)}, user=codes(list("aabbb")), time=np.arange(5.0)
    )
    made = split(table, "leave_last_out")
    assert (made.train.tolist(), made.validation.tolist(), made.test.tolist()) == (
        [0, 1, 2],
        [3],
        [4],
    )


def test_users_are_in_one_part_and_rows_without_one_are_not_one_user() -> None:
    table = log()
    assert table.user is not None
    made = split(table, "user", test_fraction=0.3)
    parts = [
        set(table.user.raw()[rows]) - {""} for rows in (made.train, made.validation, made.test)
    ]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    nobody = np.flatnonzero(~table.user.present)
    assert np.isin(nobody, made.train).any() and np.isin(nobody, made.test).any()


@pytest.mark.parametrize("method", ["time", "user_time", "user"])
def test_a_leak_is_named(method: Method) -> None:
    table = log()
    made = split(table, method)
    moved = replace(made, train=np.r_[made.train, made.test[::2]], test=made.test[1::2])
    with pytest.raises(DataError, match="of the split"):
        check_split(table, moved)
    with pytest.raises(DataError, match="share rows"):
        Split(made.train, made.train, made.test, method)


def test_what_a_method_needs_is_said() -> None:
    table = Table({}, {"y": np.zeros(4, np.float32)})
    with pytest.raises(ConfigError, match="split time: the schema has to name the time column"):
        split(table, "time")
    with pytest.raises(ConfigError, match="leave a part for training"):
        split(table, "random", validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(DataError, match="no row of 4 is left for"):
        split(table, "random")


def test_parts_of_a_stream_do_not_depend_on_the_chunks() -> None:
    table = log(rows=3000, users=600)
    whole = assign(table, 0, "random", test_fraction=0.2)
    halves = [
        assign(table.take(rows), int(rows[0]), "random", test_fraction=0.2)
        for rows in np.array_split(np.arange(3000), 7)
    ]
    assert np.concatenate(halves).tolist() == whole.tolist()
    assert np.bincount(whole) / 3000 == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    assert table.user is not None
    by_user = assign(table, 0, "user", test_fraction=0.2)
    of = [set(table.user.raw()[by_user == part]) - {""} for part in range(3)]
    assert not of[0] & of[2] and not of[0] & of[1]
    assert len(set(by_user[~table.user.present])) > 1
    with pytest.raises(ConfigError, match="streamed data take random or user"):
        assign(table, 0, "time")


def test_cold_shares() -> None:
    table = Table(
        {},
        {"y": np.zeros(5, np.float32)},
        user=codes(["a", "a", "b", "", "c"]),
        item=codes(["x", "y", "x", "z", "x"]),
    )
    made = Split(np.array([0]), np.array([1]), np.array([2, 3, 4]), "random")
    shares = cold_shares(table, made)
    assert shares["validation"] == {
        "user_cold": 0,
        "user_missing": 0,
        "item_cold": 1,
        "item_missing": 0,
    }
    assert shares["test"] == pytest.approx(
        {"user_cold": 2 / 3, "user_missing": 1 / 3, "item_cold": 1 / 3, "item_missing": 0}
    )
