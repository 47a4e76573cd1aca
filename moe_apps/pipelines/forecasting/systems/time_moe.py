"""Time-MoE in the pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from moe_apps.models.forecasting import TimeMoE
from moe_apps.models.forecasting.losses import PositionwiseHuber
from moe_apps.models.forecasting.presets import TIME_MOE_PRESETS
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.systems.system import ForecastingSystem
from moe_apps.pipelines.forecasting.training_windows import training_batches
from moe_apps.pipelines.forecasting.windows import Windows
from moe_apps.pipelines.optimisation import compile_model, precision

FITTED_TO_SEASON = ("tiny", "small")
SIZES = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "rope_theta")
OPTIONS = ("k", "balance_loss_weight", "balance_form", "router", "experts", "dispatch")


class TimeMoESystem(ForecastingSystem):
    """Shi et al. 2024, arXiv 2409.16040."""

    title = "Time-MoE"
    loss_name = "Huber, balance loss included"

    def _model(
        self, config: ForecastingConfig, season: int, known_features: int, dense: bool
    ) -> TimeMoE:
        settings = config.model
        chosen = {name: getattr(settings, name) for name in SIZES}
        sizes = {name: size for name, size in chosen.items() if size is not None}
        if "rope_theta" not in sizes and settings.preset in FITTED_TO_SEASON:
            preset = TIME_MOE_PRESETS[settings.preset]
            sizes["rope_theta"] = _theta_of_season(season, {**preset, **sizes})
        return TimeMoE.from_preset(
            settings.preset,
            context_length=config.data.look_back,
            horizon_lengths=settings.horizon_lengths,
            normalize=settings.normalize,
            num_experts=0 if dense else settings.num_experts,
            dtype=precision(config.train),
            **{name: getattr(settings, name) for name in OPTIONS},
            **sizes,
        )

    def compile(self, model: Any, config: ForecastingConfig, batches_per_epoch: int) -> None:
        """Compile with the mean of the heads' losses, each a Huber error over existing targets."""
        first = config.train.first_position
        first = config.data.look_back // 4 if first is None else first
        heads = [f"horizon_{length}" for length in model.horizon_lengths]
        compile_model(
            model,
            config.train,
            loss={head: PositionwiseHuber(first_position=first) for head in heads},
            loss_weights=dict.fromkeys(heads, 1 / len(heads)),
            total_steps=config.train.epochs * batches_per_epoch,
        )

    def batches(self, windows: Windows, config: ForecastingConfig) -> ShuffledBatches:
        return training_batches(windows, config)


def _theta_of_season(season: int, sizes: Mapping[str, Any]) -> float:
    """The rotary base whose second frequency has the season as its period.

    Frequency 1 of a head of width w has the period `2 pi theta^(2 / w)`. With it a head can look
    one season back by position alone; a small model hardly learns that from the values.
    """
    width = sizes["hidden_dim"] / sizes["num_heads"]
    theta = (season / (2 * math.pi)) ** (width / 2)
    return theta if season > 6 and theta < 1e9 else 10000.0
