"""Constant velocity on real vehicles: the numbers that were measured before this code existed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from moe_apps.pipelines.trajectory.baselines import constant_velocity
from moe_apps.pipelines.trajectory.config import DataSettings
from moe_apps.pipelines.trajectory.readers import read_tracks
from moe_apps.pipelines.trajectory.windows import WindowCutter

DATA = Path(os.environ.get("MOE_APPS_DATA", "../shared/data")) / "trajectory"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real tracks in {DATA}; set MOE_APPS_DATA"
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("USA_Lanker-1_1_T-1", {1: (1.35, 135), 2: (3.80, 89), 3: (7.38, 44)}),
        ("USA_Peach-4_8_T-1", {1: (2.31, 55), 2: (6.41, 41), 3: (12.42, 30)}),
        ("USA_US101-3_3_T-1", {1: (2.06, 48), 2: (6.72, 24)}),
    ],
)
def test_ngsim_scenarios(name: str, expected: dict[int, tuple[float, int]]) -> None:
    tracks = read_tracks(DATA / f"{name}.xml")
    for seconds, (rmse, count) in expected.items():
        settings = DataSettings(rate=10, history=0.5, horizon=seconds, velocity_seconds=0.5)
        cutter = WindowCutter(tracks, settings)
        windows = cutter.cut(cutter.strided(cutter.rows(), 0.5))
        forecast = constant_velocity(windows, settings).forecast
        assert forecast is not None
        error = np.linalg.norm(forecast[:, -1] - windows.future[:, -1], axis=-1)
        assert len(error) == count
        assert np.sqrt(np.mean(error**2)) == pytest.approx(rmse, abs=0.05)
