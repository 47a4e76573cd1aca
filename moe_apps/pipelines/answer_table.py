"""The file that `predict` writes: a table, as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from moe_apps.errors import ConfigError
from moe_apps.pipelines.atomic_files import written_whole


def check_writable(output: Path) -> None:
    """Raise `ConfigError` where no file can be at `output`; before the work, not after it.

    Example:
        >>> check_writable(Path("answers.csv"))
    """
    if output.is_dir() or not output.parent.is_dir():
        raise ConfigError(f"{output}: is no file that can be written; its folder must exist")


def write_table(table: pd.DataFrame, output: Path) -> None:
    """Write a table, whole or not at all: Parquet by its suffix (.parquet, .pq), else CSV.

    Example:
        >>> write_table(pd.DataFrame({"forecast": [1.5]}), output)  # doctest: +SKIP
    """
    with written_whole(output) as file:
        if output.suffix in (".parquet", ".pq"):
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)
