"""MoHETS in the pipeline."""

from __future__ import annotations

from typing import Any

from moe_apps.models.forecasting.losses import ObservedError
from moe_apps.models.forecasting.mohets import MoHETS
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.systems.system import ForecastingSystem
from moe_apps.pipelines.forecasting.training_windows import window_batches
from moe_apps.pipelines.forecasting.windows import Windows
from moe_apps.pipelines.optimisation import compile_model, precision

BLOCK = 24
"""Steps of a call in the released code: three patches of 8, or one and a half of 16."""

SIZES = ("num_layers", "num_heads", "num_key_heads", "hidden_dim", "intermediate_dim", "patch")
OPTIONS = ("k", "balance_loss_weight", "dropout", "drop_path", "scaled_init", "one_shot", "head")


class MoHETSSystem(ForecastingSystem):
    """Ortigossa et al. 2026, arXiv 2601.21866; each series by itself, with the calendar."""

    title = "MoHETS"
    loss_name = "Huber, balance loss included"

    def _model(
        self, config: ForecastingConfig, season: int, known_features: int, dense: bool
    ) -> MoHETS:
        settings = config.model
        chosen = {name: getattr(settings, name) for name in SIZES}
        return MoHETS.from_preset(
            settings.preset,
            dense=dense,
            look_back=config.data.look_back,
            steps=_steps(config),
            known_features=known_features,
            num_experts=settings.num_experts,
            dispatch=settings.dispatch,
            levels=settings.quantiles,
            dtype=precision(config.train),
            **{name: size for name, size in chosen.items() if size is not None},
            **{name: getattr(settings, name) for name in OPTIONS},
        )

    def compile(self, model: Any, config: ForecastingConfig, batches_per_epoch: int) -> None:
        where = {"ahead": model.steps, "weight_behind": config.model.weight_behind}
        loss = model.spread.loss(**where) if model.spread else ObservedError("huber", **where)
        compile_model(
            model,
            config.train,
            loss={_output(config): loss},
            total_steps=config.train.epochs * batches_per_epoch,
        )

    def batches(self, windows: Windows, config: ForecastingConfig) -> ShuffledBatches:
        steps, look_back = _steps(config), config.data.look_back
        first = look_back if config.model.one_shot else steps
        return window_batches(
            windows, config, output=_output(config), targets=slice(first, look_back + steps)
        )


def _steps(config: ForecastingConfig) -> int:
    horizon = config.data.horizon
    return horizon if config.model.one_shot else min(BLOCK, horizon)


def _output(config: ForecastingConfig) -> str:
    return "forecast" if config.model.one_shot else "moved"
