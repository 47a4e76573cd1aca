"""Parts of a split: which rows, that none leaks into another, and who in test is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.recommendation.table import ABSENT, Codes, Table

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each in ascending order.

    Attributes:
        train: int64 `[rows]`.
        validation: int64 `[rows]`.
        test: int64 `[rows]`.
        method: How it was made.
        left_out: Rows in no part, since they have no user or no time.
    """

    train: IntArray
    validation: IntArray
    test: IntArray
    method: str
    left_out: int = 0

    def __post_init__(self) -> None:
        rows = np.concatenate([self.train, self.validation, self.test])
        if len(np.unique(rows)) != len(rows):
            raise DataError("training, validation and test share rows")

    def mask(
        self, part: Literal["train", "validation", "test"], rows: int
    ) -> npt.NDArray[np.bool_]:
        """bool `[rows]`: whether a row is of that part."""
        made = np.zeros(rows, bool)
        made[getattr(self, part)] = True
        return made


def check_split(table: Table, made: Split) -> None:
    """Raise `DataError` naming a user or an instant that is where its split says it is not."""
    parts = made.train, made.validation, made.test
    for earlier in range(2):
        for later in range(earlier + 1, 3):
            _check_pair(table, made.method, parts[earlier], parts[later])


def _check_pair(table: Table, method: str, earlier: IntArray, later: IntArray) -> None:
    if method == "user" and table.user is not None:
        codes = table.user.codes
        both = np.intersect1d(codes[earlier], codes[later])
        both = both[both != ABSENT]
        if len(both):
            raise DataError(f"user {table.user.values[both[0]]!r} is in two parts of the split")
    if method == "time":
        assert table.time is not None
        if table.time[earlier].max() >= table.time[later].min():
            raise DataError(f"time {table.time[later].min():g} is in two parts of the split")
    if method in ("user_time", "leave_last_out"):
        assert table.user is not None and table.time is not None
        last = pd.Series(table.time[earlier]).groupby(table.user.codes[earlier]).max()
        first = pd.Series(table.time[later]).groupby(table.user.codes[later]).min()
        wrong = first < last.reindex(first.index)
        if wrong.any():
            user = table.user.values[int(first.index.to_numpy()[int(wrong.to_numpy().argmax())])]
            raise DataError(f"user {user!r} has later rows in an earlier part of the split")


def cold_shares(table: Table, made: Split) -> dict[str, dict[str, float]]:
    """Share of validation and of test rows whose user, or item, training has not seen.

    Rows without an id are counted apart, as `user_missing` and `item_missing`.

    Example:
        >>> film = Codes.of(np.array(["a", "b", "c"], object))
        >>> table = Table({}, {"y": np.zeros(3, np.float32)}, item=film)
        >>> parts = Split(np.array([0]), np.array([1]), np.array([2]), "random")
        >>> cold_shares(table, parts)["test"]
        {'item_cold': 1.0, 'item_missing': 0.0}
    """
    shares: dict[str, dict[str, float]] = {"validation": {}, "test": {}}
    for part, row in shares.items():
        rows = getattr(made, part)
        for role in ("user", "item"):
            ids: Codes | None = getattr(table, role)
            if ids is not None:
                new = is_cold(ids, made.train)[rows]
                row[f"{role}_cold"] = float(new.mean())
                row[f"{role}_missing"] = float((~ids.present[rows]).mean())
    return shares


def is_cold(ids: Codes, train: IntArray) -> npt.NDArray[np.bool_]:
    """bool `[rows]`: whether a row has an id that no training row has."""
    seen = np.zeros(len(ids.values) + 1, bool)
    seen[ids.codes[train]] = True
    return ~seen[ids.codes] & ids.present
