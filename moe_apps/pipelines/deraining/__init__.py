"""Image deraining and deweathering, from pairs of images to a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.domain import Domain, Served, System
from moe_apps.pipelines.run_folder import RunFolder


class Deraining(Domain):
    """Removal of rain, drops, snow and haze; see `moe_apps.pipelines.domain.Domain`."""

    name = "deraining"
    title = "Image deraining"
    summary = "Removes rain, drops, snow and haze from images, and shows which expert did what."
    systems = (
        System(
            "drsformer",
            "DRSformer",
            "Chen et al. 2023, Learning A Sparse Transformer Network for Effective Image "
            "Deraining, CVPR, arXiv 2303.11950",
            "https://arxiv.org/abs/2303.11950",
        ),
        System(
            "mofme",
            "MoFME",
            "Zhang et al. 2023, Efficient Deweather Mixture-of-Experts with Uncertainty-Aware "
            "Feature-Wise Linear Modulation, AAAI 2024, arXiv 2312.16610",
            "https://arxiv.org/abs/2312.16610",
        ),
    )
    config_class = DerainingConfig
    quick: ClassVar[dict[str, Any]] = {
        "data": {"test_size": 96, "kinds": ["streaks"]},
        "train": {"epochs": 2, "steps_per_epoch": 20, "patch": 48, "batch_size": 4},
        "evaluation": {"dense_twin": False, "validation_images": 6},
    }
    sample = (
        "photographs shipped with scikit-image, scikit-learn and matplotlib and drawn scenes, "
        "with made rain and snow"
    )
    headline = "psnr"
    higher_is_better = True

    def train(self, config: DerainingConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
        from moe_apps.pipelines.deraining.pipeline import train

        return train(config, run, resume)

    def evaluate(self, run: RunFolder, data: Path | None) -> dict[str, Any]:
        from moe_apps.pipelines.deraining.pipeline import evaluate

        return evaluate(run, data)

    def predict(self, run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
        from moe_apps.pipelines.deraining.prediction import predict

        return predict(run, input, output)

    def inspect(self, path: Path) -> dict[str, Any]:
        from moe_apps.pipelines.deraining.data import inspect

        return inspect(path)

    def served(self, run: RunFolder) -> Served:
        from moe_apps.pipelines.deraining.prediction import served

        return served(run)

    def request(self, run: RunFolder, input: Path) -> dict[str, Any]:
        from moe_apps.pipelines.deraining.prediction import request

        return request(run, input)


DOMAIN = Deraining()
