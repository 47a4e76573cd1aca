"""A forecaster that is made in no time, with weights large enough that its inputs matter."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np

from moe_apps.models.forecasting import TimeMoE
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.forecasting.served import served_forecaster
from moe_apps.pipelines.run_folder import RunFolder
from toy_domain import Toy

LOOK_BACK, HORIZON = 24, 6


def tiny_forecaster(**settings: Any) -> TimeMoE:
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    model = TimeMoE.from_preset(
        "tiny",
        **{**sizes, "num_experts": 4, "context_length": LOOK_BACK, "horizon_lengths": (1, 4, 16)},
        **settings,
    )
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(scale=0.4, size=variable.shape))
    return model


def history(batch: int = 3, time: int = LOOK_BACK) -> np.ndarray:
    """Noisy waves; multiples of 1/16, so that float32 can hold them beside a large offset."""
    random = np.random.default_rng(1)
    phase = random.uniform(0, 6, (batch, 1))
    values = 10 * np.sin(np.arange(time) / 3 + phase) + random.normal(size=(batch, time))
    return (np.round(values * 16) / 16).astype(np.float32)


def served(model: TimeMoE, **card: Any) -> Served:
    return served_forecaster(
        model, look_back=LOOK_BACK, horizon=HORIZON, history_example=history(2), card=card
    )


class TinyForecasting(Toy):
    """Serves the forecaster in the run's model file."""

    name: ClassVar = "tiny"

    def served(self, run: RunFolder) -> Served:
        return served(keras.saving.load_model(run.model_file), unit="degrees")
