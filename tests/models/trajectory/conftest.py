from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_modes import MODEL_MODES
from moe_apps.models.trajectory import TrajectoryModel, tmmoe

STEPS, HORIZON, RATE = 8, 5, 5.0


@pytest.fixture(params=MODEL_MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tracks() -> Callable[..., dict[str, np.ndarray]]:
    """Vehicles that drive in bends, with some of their neighbours there."""

    def make(rows: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        way = np.cumsum(rng.normal([4.0, 0.0], 0.3, (rows, STEPS, 2)), axis=1)
        inputs = {
            "ego": way,
            "neighbours": way[:, :, None] + rng.normal(0, 20, (rows, STEPS, 6, 2)),
            "present": rng.random((rows, STEPS, 6)) < 0.6,
            "lane_offset": rng.normal(0, 0.5, (rows, STEPS)),
            "lanes_beside": rng.random((rows, STEPS, 2)) < 0.5,
            "length": rng.uniform(4, 12, rows),
        }
        return {name: values.astype("float32") for name, values in inputs.items()}

    return make


@pytest.fixture
def make_model() -> Callable[..., TrajectoryModel]:
    """A small model whose weights are large enough for its inputs to matter."""

    def make(**settings: Any) -> TrajectoryModel:
        sizes = {"history_steps": STEPS, "horizon": HORIZON, "rate": RATE, "velocity_span": 2}
        model = tmmoe(
            "tiny", **{**sizes, "channels": 6, "expert_dim": 5, "head_dim": 4}, **settings
        )
        rng = np.random.default_rng(1)
        for variable in model.trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(0.4 * rng.normal(size=variable.shape))
        features = model.features.mean.shape[0]
        model.set_statistics(np.zeros(features), np.full(features, 30.0), np.ones((HORIZON, 2)))
        return model

    return make
