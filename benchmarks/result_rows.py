"""Files of results that grow row by row over several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def put_rows(file: Path, rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> None:
    """Write rows into a CSV file in place of those with the same keys, sorted by the keys."""
    table = pd.DataFrame(rows)
    if file.exists():
        old = pd.read_csv(file)
        again = pd.MultiIndex.from_frame(old[[*keys]]).isin(
            pd.MultiIndex.from_frame(table[[*keys]])
        )
        table = pd.concat([old[~again], table])
    file.parent.mkdir(parents=True, exist_ok=True)
    table.sort_values([*keys]).to_csv(file, index=False, float_format="%.5g")
