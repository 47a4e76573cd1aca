"""The mixture of linear experts in the pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.models.forecasting.linear_moe import LinearMoE
from moe_apps.models.forecasting.losses import ObservedError
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.linear_start import linear_start
from moe_apps.pipelines.forecasting.systems.system import ForecastingSystem
from moe_apps.pipelines.forecasting.training_windows import window_batches
from moe_apps.pipelines.forecasting.windows import WindowedPanel, Windows
from moe_apps.pipelines.optimisation import compile_model, precision

OPTIONS = ("k", "rank", "gate_dim", "train_shared", "balance_loss_weight", "dispatch", "head")

MOST_WINDOWS = 4000
"""Training windows by whose errors a head starts."""


class LinearMoESystem(ForecastingSystem):
    """Ours; see `LinearMoE`."""

    title = "linear MoE"
    loss_name = "squared error, balance loss included"
    starts_fitted = True

    def _model(
        self, config: ForecastingConfig, season: int, known_features: int, dense: bool
    ) -> LinearMoE:
        settings = config.model
        return LinearMoE(
            look_back=config.data.look_back,
            horizon=config.data.horizon,
            season=season,
            known_features=known_features,
            effects=len(config.data.covariates) + (config.data.holidays is not None),
            num_experts=0 if dense else settings.num_experts,
            levels=settings.quantiles,
            dtype=precision(config.train),
            **{name: getattr(settings, name) for name in OPTIONS},
        )

    def start(self, model: Any, data: WindowedPanel, season: int) -> tuple[str, ...]:
        found = linear_start(data.train, data.validation, season)
        model.start_from(found.weights)
        if model.spread is not None:
            model.spread.start(_errors(found.weights, data.train))
        return found.members

    def compile(self, model: Any, config: ForecastingConfig, batches_per_epoch: int) -> None:
        kind = config.model.loss
        compile_model(
            model,
            config.train,
            loss={"forecast": model.spread.loss() if model.spread else ObservedError(kind)},
            total_steps=config.train.epochs * batches_per_epoch,
        )

    def batches(self, windows: Windows, config: ForecastingConfig) -> ShuffledBatches:
        return window_batches(windows, config)


def _errors(weights: npt.NDArray[np.floating], windows: Windows) -> npt.NDArray[np.float64]:
    """Errors of the linear forecast on windows spread over training, over each one's deviation."""
    every = max(len(windows) // MOST_WINDOWS, 1)
    batch = windows.gather(np.arange(0, len(windows), every))
    history = batch.history.astype(np.float64)
    mean, deviation = history.mean(axis=1, keepdims=True), history.std(axis=1, keepdims=True)
    scale = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)
    target = np.where(batch.target_observed, batch.target, np.nan)
    return (target - mean - (history - mean) @ weights) / scale
