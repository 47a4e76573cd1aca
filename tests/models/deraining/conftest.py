from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from keras_modes import MODEL_MODES


@pytest.fixture(params=MODEL_MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def image() -> np.ndarray:
    """Two images of 16 x 24 pixels with structure and noise."""
    rows, columns = np.mgrid[:16, :24]
    waves = 0.5 + 0.3 * np.sin(rows / 3)[..., None] * np.cos(
        columns[..., None] / np.array([2, 3, 4])
    )
    noise = np.random.default_rng(0).normal(scale=0.1, size=(2, 16, 24, 3))
    return np.clip(waves + noise, 0, 1).astype("float32")


@pytest.fixture
def lively() -> Callable[[keras.Model], keras.Model]:
    """Weights large enough for outputs to be told apart."""

    def set_weights(model: keras.Model) -> Any:
        draw = np.random.default_rng(1).normal
        for variable in model.trainable_variables:
            if len(variable.shape) > 1:
                scale = 0.7 / np.sqrt(np.prod(variable.shape[:-1]))
                variable.assign(scale * draw(size=variable.shape))
        return model

    return set_weights
