"""Trajectory and driving-intention prediction: tracks of vehicles to a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from moe_apps.pipelines.domain import Domain, Served, System
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.trajectory.config import TrajectoryConfig


class Trajectory(Domain):
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

    def train(self, config: TrajectoryConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
        from moe_apps.pipelines.trajectory.pipeline import train

        return train(config, run, resume)

    def evaluate(self, run: RunFolder, data: Path | None) -> dict[str, Any]:
        from moe_apps.pipelines.trajectory.pipeline import evaluate

        return evaluate(run, data)

    def predict(self, run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
        from moe_apps.pipelines.trajectory.prediction import predict

        return predict(run, input, output)

    def inspect(self, path: Path) -> dict[str, Any]:
        from moe_apps.pipelines.trajectory.inspect import inspect

        return inspect(path)

    def served(self, run: RunFolder) -> Served:
        from moe_apps.pipelines.trajectory.prediction import served

        return served(run)

    def request(self, run: RunFolder, input: Path) -> dict[str, Any]:
        from moe_apps.pipelines.trajectory.prediction import request

        return request(run, input)


DOMAIN = Trajectory()
