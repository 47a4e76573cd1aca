"""Trajectory and driving-intention prediction: tracks of vehicles to a served model."""

from __future__ import annotations

from typing import Any, ClassVar

from moe_apps.pipelines.domain import System
from moe_apps.pipelines.packaged_domain import PackagedDomain
from moe_apps.pipelines.trajectory.config import TrajectoryConfig


class Trajectory(PackagedDomain):
    """Trajectory and intention prediction; see `moe_apps.pipelines.domain.Domain`."""

    name = "trajectory"
    title = "Vehicle trajectory and driving intention"
    summary = (
        "Predicts where vehicles will be in the next seconds and whether they are about to change "
        "lanes, from tracks."
    )
    systems = (
        System(
            "tmmoe",
            "TMMOE",
            "Yuan et al. 2023, A Novel Temporal Multi-Gate Mixture-of-Experts Approach for Vehicle "
            "Trajectory and Driving Intention Prediction, arXiv 2308.00533",
            "https://arxiv.org/abs/2308.00533",
        ),
    )
    config_class = TrajectoryConfig
    quick: ClassVar[dict[str, Any]] = {
        "data": {"train_windows": 8000, "simulator": {"roads": 10, "vehicles": 36, "seconds": 60}},
        "model": {"preset": "tiny"},
        "train": {"epochs": 2, "steps_per_epoch": 50},
        "evaluation": {
            "test_windows": 2000,
            "validation_windows": 500,
            "lstm_units": 16,
            "dense_twin": False,
        },
    }
    sample = "traffic on three lanes, simulated by IDM and MOBIL with measurement errors"
    headline = "final_rmse"
    monitor = "val_score"
    search_space: ClassVar[dict[str, Any]] = {
        "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "model.num_experts": [3, 6, 9],
        "model.gate_dropout": [0.0, 0.1],
    }


DOMAIN = Trajectory()
