"""The mixture of linear experts in the pipeline."""

from __future__ import annotations

from typing import Any

from moe_apps.models.forecasting.linear_moe import LinearMoE
from moe_apps.models.forecasting.losses import ObservedError
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.linear_start import linear_start
from moe_apps.pipelines.forecasting.systems.system import ForecastingSystem
from moe_apps.pipelines.forecasting.training_windows import window_batches
from moe_apps.pipelines.forecasting.windows import WindowedPanel, Windows
from moe_apps.pipelines.optimisation import compile_model, precision

OPTIONS = ("k", "rank", "gate_dim", "train_shared", "balance_loss_weight", "dispatch")


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
            dtype=precision(config.train),
            **{name: getattr(settings, name) for name in OPTIONS},
        )

    def start(self, model: Any, data: WindowedPanel, season: int) -> tuple[str, ...]:
        found = linear_start(data.train, data.validation, season)
        model.start_from(found.weights)
        return found.members

    def compile(self, model: Any, config: ForecastingConfig, batches_per_epoch: int) -> None:
        compile_model(
            model,
            config.train,
            loss={"forecast": ObservedError(config.model.loss)},
            total_steps=config.train.epochs * batches_per_epoch,
        )

    def batches(self, windows: Windows, config: ForecastingConfig) -> ShuffledBatches:
        return window_batches(windows, config)
