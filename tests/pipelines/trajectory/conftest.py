from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.trajectory.config import DataSettings, SimulatorSettings, TrajectoryConfig
from moe_apps.pipelines.trajectory.tracks import Tracks

TINY = {
    "data": {
        "history": 1.0,
        "horizon": 2.0,
        "intention_window": 2.0,
        "train_windows": 300,
        "simulator": {"roads": 3, "vehicles": 24, "seconds": 30},
    },
    "model": {"preset": "tiny", "channels": 8, "expert_dim": 8, "head_dim": 8},
    "train": {"epochs": 2, "steps_per_epoch": 4, "batch_size": 16, "ema": 0.0},
    "evaluation": {
        "test_windows": 200, "validation_windows": 60, "lstm": False, "lstm_units": 4,
        "batch_size": 64,
    },
}  # fmt: skip
"""Settings of a run that takes seconds."""


@pytest.fixture(scope="session")
def tiny() -> TrajectoryConfig:
    return TrajectoryConfig.model_validate({**TINY, "seed": 3})


@pytest.fixture
def two_lanes() -> Tracks:
    """Three vehicles at 5 Hz for 20 s; number 1 changes to the left lane at 10 s.

    1 drives 10 m/s, 2 is ahead of it and 3 behind in the left lane.
    """
    frame = np.arange(100)
    lane = (frame >= 50).astype(int)
    across = 1.75 + 3.5 * np.clip((frame - 40) / 20, 0, 1)
    one = {"vehicle": 1, "x": 2.0 * frame, "y": across, "lane": lane, "length": 4.0}
    two = {"vehicle": 2, "x": 30 + 2.0 * frame, "y": 1.75, "lane": 0, "length": 12.0}
    three = {"vehicle": 3, "x": 2.0 * frame - 20, "y": 5.25, "lane": 1, "length": np.nan}
    columns = {
        name: np.concatenate([np.broadcast_to(v[name], 100) for v in (one, two, three)])
        for name in one
    }
    return Tracks.of({**columns, "frame": np.tile(frame, 3)}, rate=5, lane_width=3.5)


@pytest.fixture
def short() -> DataSettings:
    """Windows of 1 s history (6 steps) and 2 s horizon (10 steps)."""
    return DataSettings(
        history=1.0, horizon=2.0, intention_window=2.0, simulator=SimulatorSettings()
    )
