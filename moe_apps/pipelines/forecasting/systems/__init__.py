"""The forecasting systems, by their name in settings."""

from __future__ import annotations

from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.systems.linear_moe import LinearMoESystem
from moe_apps.pipelines.forecasting.systems.mohets import MoHETSSystem
from moe_apps.pipelines.forecasting.systems.system import ForecastingSystem
from moe_apps.pipelines.forecasting.systems.time_moe import TimeMoESystem

SYSTEMS: dict[str, ForecastingSystem] = {
    "time_moe": TimeMoESystem(),
    "mohets": MoHETSSystem(),
    "linear_moe": LinearMoESystem(),
}


def system_of(config: ForecastingConfig) -> ForecastingSystem:
    """The system that the settings name.

    Example:
        >>> system_of(ForecastingConfig()).title
        'Time-MoE'
    """
    return SYSTEMS[config.model.name]


__all__ = ["SYSTEMS", "ForecastingSystem", "system_of"]
