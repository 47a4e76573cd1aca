"""A result file with rows of several seeds, which may come from several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

WITHOUT_SEED = -1
"""Stands in the column `seed` for what involves no chance."""


def put(rows: Sequence[dict[str, Any]], output: Path, order: Sequence[str]) -> pd.DataFrame:
    """Put rows into a file: they replace those of the same seeds, others are kept.

    Returns the whole table.
    """
    table = pd.DataFrame(rows)
    if output.exists():
        before = pd.read_csv(output)
        table = pd.concat([table, before[~before["seed"].isin(table["seed"])]])
    table = table.sort_values([*order], ignore_index=True)
    table.to_csv(output, index=False)
    return table
