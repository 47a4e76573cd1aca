"""Trajectory and driving-intention systems."""

from moe_apps.models.trajectory.lstm import LSTMEncoder
from moe_apps.models.trajectory.tcn import TCN, TemporalBlock
from moe_apps.models.trajectory.tmmoe import TMMOEEncoder, tmmoe
from moe_apps.models.trajectory.trajectory_model import TrajectoryModel

__all__ = ["TCN", "LSTMEncoder", "TMMOEEncoder", "TemporalBlock", "TrajectoryModel", "tmmoe"]
