"""A model with the calls that a pipeline needs: built, compiled, and forecasting in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError
from moe_apps.models.forecasting import TimeMoE
from moe_apps.models.forecasting.losses import PositionwiseHuber
from moe_apps.models.forecasting.presets import TIME_MOE_PRESETS
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.inference import in_batches
from moe_apps.pipelines.optimisation import compile_model, precision, strategy_scope

FloatArray = npt.NDArray[np.floating]

FITTED_TO_SEASON = ("tiny", "small")
SIZES = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "rope_theta")
OPTIONS = ("k", "balance_loss_weight", "balance_form", "router", "experts", "dispatch")


def build_model(config: ForecastingConfig, season: int, dense: bool = False) -> TimeMoE:
    """The model that the settings describe, or its dense twin, with fresh weights.

    Args:
        config: the settings.
        season: steps of a season, for the rotary positions of small models.
        dense: build the dense twin.

    Raises:
        ConfigError: sizes that do not go together.
    """
    settings = config.model
    chosen = {name: getattr(settings, name) for name in SIZES}
    sizes = {name: size for name, size in chosen.items() if size is not None}
    if "rope_theta" not in sizes and settings.preset in FITTED_TO_SEASON:
        preset = TIME_MOE_PRESETS[settings.preset]
        sizes["rope_theta"] = _theta_of_season(season, {**preset, **sizes})
    try:
        with strategy_scope(config.train):
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
    except ValueError as error:
        raise ConfigError(f"model: {str(error).splitlines()[0]}") from error


def _theta_of_season(season: int, sizes: Mapping[str, Any]) -> float:
    """The rotary base whose second frequency has the season as its period.

    Frequency 1 of a head of width w has the period `2 pi theta^(2 / w)`. With it a head can look
    one season back by position alone; a small model hardly learns that from the values.
    """
    width = sizes["hidden_dim"] / sizes["num_heads"]
    theta = (season / (2 * math.pi)) ** (width / 2)
    return theta if season > 6 and theta < 1e9 else 10000.0


def compile_forecaster(model: TimeMoE, config: ForecastingConfig, batches_per_epoch: int) -> None:
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


def forecast_function(
    model: TimeMoE, horizon: int, batch_size: int = 256
) -> Callable[..., FloatArray]:
    """A compiled `(history [n, time], mask=None) -> [n, horizon]` in batches of one shape."""
    return _on_histories(
        in_batches(model, lambda history, mask: model.forecast(history, horizon, mask), batch_size)
    )


def routing_function(model: TimeMoE, batch_size: int = 256) -> Callable[..., FloatArray]:
    """A compiled `(history [n, time], mask=None) -> [n, time, layers, experts]`, the weights."""
    return _on_histories(in_batches(model, model.routing, batch_size))


def _on_histories(answer: Callable[..., FloatArray]) -> Callable[..., FloatArray]:
    def run(history: FloatArray, mask: npt.NDArray[np.bool_] | None = None) -> FloatArray:
        return answer(history.astype(np.float32), mask)

    return run
