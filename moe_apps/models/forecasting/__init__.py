"""Forecasting systems."""

from moe_apps.models.forecasting.linear_moe import LinearMoE
from moe_apps.models.forecasting.mohets import MoHETS
from moe_apps.models.forecasting.time_moe import TimeMoE, greedy_schedule
from moe_apps.models.forecasting.time_moe_backbone import TimeMoEBackbone

__all__ = ["LinearMoE", "MoHETS", "TimeMoE", "TimeMoEBackbone", "greedy_schedule"]
