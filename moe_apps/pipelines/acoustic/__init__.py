"""Underwater and other acoustic recognition: recordings to a served model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.domain import System
from moe_apps.pipelines.packaged_domain import PackagedDomain
from moe_apps.pipelines.run_folder import RunFolder


class Acoustic(PackagedDomain):
    """Recognition of sounds; see `moe_apps.pipelines.domain.Domain`."""

    name = "acoustic"
    title = "Underwater acoustic recognition"
    summary = "Tells kinds of ships, or any other classes of sounds, apart by recordings of them."
    systems = (
        System(
            "cmoe",
            "CMoE",
            "Xie et al. 2024, Unraveling Complex Data Diversity in Underwater Acoustic Target "
            "Recognition through Convolution-based Mixture of Experts, arXiv 2402.11919",
            "https://arxiv.org/abs/2402.11919",
        ),
    )
    serves = "served"
    config_class = AcousticConfig
    quick: ClassVar[dict[str, Any]] = {
        "data": {"generator": {"recordings": 144, "seconds": 10.0}},
        "features": {"bands": 48, "time_pool": 8},
        "model": {"front_end": "tiny", "num_experts": 4},
        "train": {"epochs": 16, "batch_size": 32},
        "evaluation": {"dense_twin": False},
    }
    sample = "made recordings of ships of twelve kinds that pass a hydrophone"
    headline = "accuracy"
    higher_is_better = True
    monitor = "val_loss"
    search_space: ClassVar[dict[str, Any]] = {
        "train.learning_rate": {"low": 5e-4, "high": 5e-3, "log": True},
        "model.num_experts": [4, 8, 16],
        "model.dropout": {"low": 0.0, "high": 0.4},
    }

    def listen(
        self, run: RunFolder, file: Path | None, device: str | None, pace: float
    ) -> Iterator[dict[str, Any]]:
        from moe_apps.pipelines.acoustic.listening import listen

        return listen(run, file, device, pace)


DOMAIN = Acoustic()
