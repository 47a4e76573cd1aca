from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from keras_modes import MODEL_MODES
from moe_apps.models.forecasting import TimeMoE


@pytest.fixture(params=MODEL_MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def history() -> np.ndarray:
    """Two series of 20 points in units far from 0 and 1."""
    steps = np.arange(20)
    waves = np.stack([50 + 8 * np.sin(steps / 3), 3 * np.cos(steps / 2) + 0.1 * steps])
    noise = np.random.default_rng(0).normal(size=waves.shape)
    return (waves + 0.2 * noise).astype("float32")


@pytest.fixture
def make_model() -> Callable[..., TimeMoE]:
    """A model whose weights are large enough for outputs to be told apart."""

    def make(**settings) -> TimeMoE:
        keras.utils.set_random_seed(1)
        settings = {
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 8,
            "intermediate_dim": 16,
            "context_length": 20,
            "horizon_lengths": (1, 3, 8),
            **settings,
        }
        model = TimeMoE.from_preset("tiny", **settings)
        draw = np.random.default_rng(1).normal
        for variable in model.trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(0.4 * draw(size=variable.shape))
        return model

    return make
