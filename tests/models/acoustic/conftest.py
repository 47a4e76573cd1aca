from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_modes import MODEL_MODES
from moe_apps.models.acoustic import CMoE

TIME, BANDS, BINS, CLASSES = 12, 16, 20, 3


@pytest.fixture(params=MODEL_MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(6, TIME, BANDS)).astype("float32"),
        "demon": rng.normal(size=(6, BINS)).astype("float32"),
    }


@pytest.fixture
def make_model() -> Callable[..., CMoE]:
    def make(**settings: Any) -> CMoE:
        sizes = {"image_shape": (TIME, BANDS), "demon_shape": (BINS,), "demon_units": 8}
        chosen = {"front_end": "tiny", "num_experts": 4, **sizes, **settings}
        return CMoE(CLASSES, **chosen)

    return make
