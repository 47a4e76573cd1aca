"""Where the real forecasting files are, and a way to write small ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moe_apps.pipelines.forecasting.panel import Panel, Series


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Write lines into a CSV file and return its path."""

    def write(*lines: str, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def numbered() -> Callable[..., Panel]:
    """A panel of numbered rows, one series for each given array; NaN is missing."""

    def make(*arrays: np.ndarray) -> Panel:
        series = [
            Series(f"s{i}", 0, np.nan_to_num(np.asarray(a, np.float64)), np.isfinite(a))
            for i, a in enumerate(arrays)
        ]
        return Panel(tuple(series), None)

    return make
