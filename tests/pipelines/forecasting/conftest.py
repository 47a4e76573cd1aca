"""Small files, panels and a trained run that several tests look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moe_apps
from moe_apps.pipelines.forecasting.panel import Panel, Series

SMALL = [
    *("data.look_back=24", "data.horizon=12", "evaluation.stride=4"),
    *("train.epochs=1", "train.steps_per_epoch=3", "train.batch_size=8"),
]


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


@pytest.fixture(scope="session")
def hourly_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hourly series of a daily wave, the second with a gap."""
    hours = np.arange(420)
    noise = np.random.default_rng(0).normal(size=(2, 420))
    frame = pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=420, freq="h"),
            "load": 50 + 10 * np.sin(2 * np.pi * hours / 24) + noise[0],
            "wind": 5 + np.cos(2 * np.pi * hours / 24) + 0.1 * noise[1],
        }
    )
    frame.loc[100:104, "wind"] = np.nan
    path = tmp_path_factory.mktemp("data") / "hourly.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def linear_run(
    hourly_table: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A mixture of linear experts trained on that table, and its metrics."""
    run = tmp_path_factory.mktemp("runs") / "linear_moe"
    settings = [*SMALL, "model.system=linear_moe", "intervals.levels=[80]", "intervals.windows=60"]
    settings.append("evaluation.stride=1")  # or there are too few windows for intervals
    return run, moe_apps.train("forecasting", data=hourly_table, set=settings, output=run, seed=3)
