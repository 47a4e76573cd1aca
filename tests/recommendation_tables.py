"""Small tables by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from moe_apps.pipelines.recommendation.table import Codes, Table


def codes(values: Any) -> Codes:
    array = np.array(values)
    return Codes.of(array if array.dtype.kind == "i" else np.array(values, object))


def log(seed: int = 0, rows: int = 400, users: int = 30, items: int = 12) -> Table:
    """Rows of random users and items at random times; some have no user, some no time."""
    random = np.random.default_rng(seed)
    user = np.array([f"u{number}" for number in random.integers(users, size=rows)], object)
    user[random.random(rows) < 0.05] = ""
    time = random.integers(0, 200, rows).astype(np.float64)
    time[random.random(rows) < 0.02] = np.nan
    film = codes([f"f{number}" for number in random.integers(items, size=rows)])
    like = random.integers(0, 2, rows).astype(np.float32)
    return Table({"film": film}, {"like": like}, user=Codes.of(user), item=film, time=time)
