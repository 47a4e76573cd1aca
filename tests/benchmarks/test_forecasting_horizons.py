"""The study of horizons: what chooses, what is kept, what is averaged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "forecasting"))
import horizons


@pytest.mark.slow
def test_a_small_study_from_a_file(tmp_path, monkeypatch):
    hours = np.arange(500)
    noise = np.random.default_rng(0).normal(size=500)
    table = pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=500, freq="h"),
            "x": np.sin(2 * np.pi * hours / 24) + 0.3 * noise,
        }
    )
    table.to_csv(tmp_path / "waves.csv", index=False)
    train = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
    candidates = tuple({"data": {"look_back": look_back}, "train": train} for look_back in (24, 12))
    monkeypatch.setattr(horizons, "CANDIDATES", {"linear_moe": candidates})
    monkeypatch.setattr(horizons, "RIDGE_LOOK_BACKS", (12, 24))
    monkeypatch.setattr(horizons, "circumstances", dict)
    output = tmp_path / "results.csv"
    arguments = [str(tmp_path / "waves.csv"), "--output", str(output), "--systems", "linear_moe"]
    horizons.main([*arguments, "--horizons", "6", "12"])
    rows = pd.read_csv(output)
    assert set(rows["system"]) == {
        *("linear_moe", "ridge 12", "ridge 24", "seasonal_naive", "repeat_last")
    }
    ours = rows[rows["system"] == "linear_moe"].set_index("horizon")
    # It starts from the best ridge of each look-back and can only get better on validation.
    for horizon in (6, 12):
        same = rows[(rows["horizon"] == horizon) & rows["system"].str.startswith("ridge")]
        assert ours.loc[horizon, "val_mse"] <= same["val_mse"].min() * 1.01
        assert ours.loc[horizon, "windows"] == 100 - horizon + 1
    means = horizons.summary(rows, "waves")
    assert means.loc["linear_moe", ("mse", "mean")] == pytest.approx(ours["mse"].mean(), abs=6e-4)
