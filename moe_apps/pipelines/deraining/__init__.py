"""Image deraining and deweathering, from pairs of images to a served model."""

from __future__ import annotations

from typing import Any, ClassVar

from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.domain import System
from moe_apps.pipelines.packaged_domain import PackagedDomain


class Deraining(PackagedDomain):
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
    inspects = "data"
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
    monitor = "val_psnr"
    monitor_mode = "max"
    search_space: ClassVar[dict[str, Any]] = {
        "train.learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
        "train.ema": [0.9, 0.98],
        "train.edge": {"low": 0.0, "high": 0.1},
    }


DOMAIN = Deraining()
