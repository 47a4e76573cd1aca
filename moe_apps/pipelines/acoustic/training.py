"""One network trained on the training part of some data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.models.acoustic import CMoE
from moe_apps.pipelines.acoustic.answers import Answer, answering
from moe_apps.pipelines.acoustic.augmentation import training_batches
from moe_apps.pipelines.acoustic.building import (
    build_model,
    compile_acoustic,
    set_statistics,
)
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.data import AcousticData
from moe_apps.pipelines.acoustic.extraction import Segments
from moe_apps.pipelines.acoustic.metrics import score
from moe_apps.pipelines.acoustic.splits import TRAIN, VALIDATION
from moe_apps.pipelines.training import TrainingResult, fit, set_seed

TITLES = {"model": "CMoE", "dense_twin": "dense twin"}


def built(config: AcousticConfig, kind: str, data: AcousticData) -> CMoE:
    """A fresh network; its weights do not depend on which others there are."""
    set_seed(config.seed)
    model = build_model(config, kind, data.features, len(data.classes))
    set_statistics(model, data.of(TRAIN).inputs, config.seed)
    return model


def train_network(
    model: CMoE,
    kind: str,
    config: AcousticConfig,
    data: AcousticData,
    *,
    checkpoint: Path,
    history_file: Path,
    on_epoch: tuple[Callable[[int, dict[str, float]], None], ...] = (),
    resume: bool = False,
) -> TrainingResult:
    """Train a network; every one with the same seed, segments and settings.

    The epoch with the lowest cross-entropy on the validation part is kept.
    """
    set_seed(config.seed)
    settings = config.train
    train, validation = data.of(TRAIN), data.of(VALIDATION)
    batches = training_batches(
        train,
        len(data.classes),
        settings.augmentation,
        names=tuple(model.scales),
        batch_size=settings.batch_size,
        seed=config.seed,
        steps_per_epoch=settings.steps_per_epoch,
        class_weights=settings.class_weights,
        features=data.features,
    )
    compile_acoustic(model, config, batches.batches_per_epoch)
    answer = answering(model, config.evaluation.batch_size)

    def validate() -> dict[str, float]:
        return validation_values(answer(validation).probability, validation, data.classes)

    return fit(
        model,
        batches,
        settings,
        checkpoint=checkpoint,
        history_file=history_file,
        validate=validate,
        monitor="val_loss",
        on_epoch=on_epoch,
        resume=resume and checkpoint.exists(),
        title=TITLES[kind],
    )


def validation_values(
    probability: Any, segments: Segments, classes: tuple[str, ...]
) -> dict[str, float]:
    """Cross-entropy and accuracies on the validation part."""
    found = score(Answer(probability), segments, classes)
    own = probability[np.arange(len(segments)), segments.label]
    return {
        "val_loss": float(-np.log(np.maximum(own, 1e-9)).mean()),
        "val_accuracy": found["accuracy"],
        "val_segment_accuracy": found["segment_accuracy"],
    }
