"""Trains a trajectory model on windows, from nothing or from another model's weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from moe_apps.models.trajectory import TrajectoryModel
from moe_apps.models.trajectory.features import UNKNOWN_OFFSET
from moe_apps.pipelines.training import fit, set_seed
from moe_apps.pipelines.trajectory.answers import Answer, answering
from moe_apps.pipelines.trajectory.batches import training_batches
from moe_apps.pipelines.trajectory.building import build_model, compile_trajectory
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.windows import Windows

Judge = Callable[[Answer, Windows], float]


def trained(
    config: TrajectoryConfig,
    train: Windows,
    validation: Windows,
    judge: Judge,
    start: TrajectoryModel | None = None,
) -> TrajectoryModel:
    """Return a model trained on `train`, with the weights of the epoch `judge` finds best.

    Args:
        config: of model and training.
        train: windows that are trained on.
        validation: windows that the best epoch is chosen by.
        judge: small for a good answer.
        start: model whose weights training begins with, instead of new ones.
    """
    set_seed(config.seed)
    model = build_model(config, "model", train)
    if start is not None:
        model.set_weights(start.get_weights())
    batches = training_batches(
        train, config.train.batch_size, config.seed, config.train.steps_per_epoch
    )
    compile_trajectory(model, config, batches.batches_per_epoch)
    answer = answering(model, config.evaluation.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            batches,
            config.train,
            checkpoint=Path(folder, "checkpoint"),
            history_file=Path(folder, "history.csv"),
            validate=lambda: {"val_score": judge(answer(validation), validation)},
            monitor="val_score",
        )
    return model


def alone(windows: Windows) -> Windows:
    """The windows without what a GPS receiver does not know: neighbours, lanes, length."""
    inputs = dict(windows.inputs)
    for name in ("neighbours", "present", "lanes_beside", "length"):
        inputs[name] = np.zeros_like(inputs[name])
    inputs["lane_offset"] = np.full_like(inputs["lane_offset"], UNKNOWN_OFFSET)
    return replace(windows, inputs=inputs)
