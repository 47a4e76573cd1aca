"""Divides rows into training, validation and test, and says who in test is new."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.recommendation.parts import Split, check_split
from moe_apps.pipelines.recommendation.table import ABSENT, Table

IntArray = npt.NDArray[np.int64]

Method = Literal["random", "time", "user_time", "leave_last_out", "user"]

NEEDS = {
    "random": (),
    "time": ("time",),
    "user_time": ("user", "time"),
    "leave_last_out": ("user", "time"),
    "user": ("user",),
}

STREAMED = ("random", "user")
"""Methods that decide on a row without knowing the others."""


def split(
    table: Table,
    method: Method = "random",
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Split:
    """Divide the rows of a table.

    Args:
        table: Rows, in any order.
        method: `random`: rows at random. `time`: the latest instants are test, those before them
            validation; rows of one instant stay together. `user_time`: likewise within each user,
            rounded down, so that users of few rows are training only. `leave_last_out`: each
            user's last row is test, the one before it validation; users of fewer than 3 rows
            are training only. `user`: users at random, so that all test users are new.
        validation_fraction: Share of validation rows (or users); not for `leave_last_out`.
        test_fraction: Share of test rows (or users); not for `leave_last_out`.
        seed: Seed of `random` and `user`.

    Raises:
        ConfigError: The schema names no user or time column that the method needs, or the
            fractions leave nothing for training.
        DataError: A part has no rows.

    Example:
        >>> table = Table({}, {"y": np.zeros(10, np.float32)}, time=np.arange(10.0))
        >>> split(table, "time", test_fraction=0.2).test.tolist()
        [8, 9]
    """
    for role in NEEDS[method]:
        if getattr(table, role) is None:
            raise ConfigError(f"split {method}: the schema has to name the {role} column")
    if not (test_fraction > 0 and 0 < validation_fraction + test_fraction < 1):
        raise ConfigError(
            f"validation_fraction {validation_fraction} and test_fraction {test_fraction} must "
            "leave a part for training"
        )
    usable = np.ones(len(table), bool)
    if "time" in NEEDS[method]:
        usable &= ~np.isnan(table.time)  # type: ignore[arg-type]
    if method in ("user_time", "leave_last_out"):
        usable &= table.user.present  # type: ignore[union-attr]
    rows = np.flatnonzero(usable)
    fractions = validation_fraction, test_fraction
    if method == "random":
        part = _by_rank(np.random.default_rng(seed).permutation(len(rows)), *fractions)
    elif method == "user":
        part = _by_user(table, *fractions, seed)
    elif method == "time":
        part = _by_time(table.time[rows], *fractions)  # type: ignore[index]
    else:
        part = _within_users(
            table.user.codes[rows],  # type: ignore[union-attr]
            table.time[rows],  # type: ignore[index]
            None if method == "leave_last_out" else fractions,
        )
    train, validation, test = (rows[part == number] for number in range(3))
    made = Split(train, validation, test, method, left_out=len(table) - len(rows))
    for name in ("train", "validation", "test"):
        if not len(getattr(made, name)):
            raise DataError(f"split {method}: no row of {len(table):,} is left for {name}")
    check_split(table, made)
    return made


def _by_rank(rank: IntArray, validation: float, test: float) -> IntArray:
    count = len(rank)
    last = count - round(test * count)
    middle = last - round(validation * count)
    return (rank >= middle).astype(np.int64) + (rank >= last)


def _by_user(table: Table, validation: float, test: float, seed: int) -> IntArray:
    assert table.user is not None
    codes = table.user.codes.astype(np.int64)
    # A row without a user is nobody else's.
    nobody = codes == ABSENT
    codes[nobody] = len(table.user.values) + np.arange(nobody.sum())
    people, each = np.unique(codes, return_inverse=True)
    return _by_rank(np.random.default_rng(seed).permutation(len(people)), validation, test)[each]


def _by_time(time: npt.NDArray[np.float64], validation: float, test: float) -> IntArray:
    ordered = np.sort(time)
    part = np.zeros(len(time), np.int64)
    for share in (validation + test, test):
        at = len(time) - round(share * len(time))
        if at < len(time):
            part += time >= ordered[max(at, 0)]
    return part


def _within_users(
    users: npt.NDArray[np.int32],
    time: npt.NDArray[np.float64],
    fractions: tuple[float, float] | None,
) -> IntArray:
    order = np.lexsort((time, users))
    counts = np.bincount(users)[users[order]]
    starts = np.searchsorted(users[order], users[order])
    from_end = counts - (np.arange(len(users)) - starts)  # 1 for a user's last row
    if fractions is None:
        test = np.where(counts >= 3, 1, 0)
        validation = test
    else:
        validation, test = (np.floor(share * counts + 1e-9).astype(int) for share in fractions)
    part = np.empty(len(users), np.int64)
    part[order] = (from_end <= test + validation).astype(np.int64) + (from_end <= test)
    return part


def assign(
    table: Table,
    first_row: int,
    method: Method = "random",
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> IntArray:
    """Parts of a chunk's rows: 0 training, 1 validation, 2 test; each row decided for itself.

    For data that are never in memory whole: shares hold on average, and a row (with method
    `user` a user) always falls into the same part. Rows without a user are decided by number.

    Args:
        table: The chunk.
        first_row: Rows before it.
        method: `random` or `user`.
        validation_fraction: Share of validation rows or users.
        test_fraction: Share of test rows or users.
        seed: Other seeds, other parts.

    Raises:
        ConfigError: The method has to know all rows.
    """
    if method not in STREAMED:
        raise ConfigError(
            f"split {method} has to know all rows; streamed data take {' or '.join(STREAMED)}"
        )
    numbers = pd.util.hash_array(np.arange(first_row, first_row + len(table)) + (seed << 40))
    if method == "user":
        if table.user is None:
            raise ConfigError("split user: the schema has to name the user column")
        salted = np.array([f"{seed}/{user}" for user in table.user.values], object)
        hashed = np.append(pd.util.hash_array(salted), np.uint64(0))[table.user.codes]
        numbers = np.where(table.user.present, hashed, numbers)
    share = numbers / 2.0**64
    return (share >= 1 - test_fraction - validation_fraction).astype(np.int64) + (
        share >= 1 - test_fraction
    )
