"""Trains trajectory models on windows, from nothing or from another model's weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.models.trajectory import TrajectoryModel
from moe_apps.models.trajectory.features import UNKNOWN_OFFSET
from moe_apps.pipelines.training import fit, set_seed
from moe_apps.pipelines.trajectory.answers import Answer, answering
from moe_apps.pipelines.trajectory.batches import training_batches
from moe_apps.pipelines.trajectory.building import (
    build_model,
    compile_trajectory,
    set_statistics,
)
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.windows import Windows

Judge = Callable[[Answer, Windows], float]


class Trainer:
    """Trains one network again and again: it is compiled once.

    Args:
        config: of model and training.
        judge: small for a good answer; the epoch it finds best is kept.
    """

    def __init__(self, config: TrajectoryConfig, judge: Judge) -> None:
        self.config, self.judge = config, judge
        self.model: TrajectoryModel | None = None
        self.fresh: list[Any] = []
        self.untouched: list[Any] = []

    def __call__(
        self, train: Windows, validation: Windows, start: list[Any] | None = None
    ) -> TrajectoryModel:
        """Return the network, trained on `train`; it is the same object every time.

        Args:
            train: windows that are trained on.
            validation: windows that the best epoch is chosen by.
            start: weights that training begins with; by default new ones, the same each time.
        """
        config = self.config
        settings = config.train
        set_seed(config.seed)
        batches = training_batches(
            train, settings.batch_size, config.seed, settings.steps_per_epoch
        )
        if self.model is None:
            self.model = build_model(config, "model", train)
            self.fresh = self.model.get_weights()
            compile_trajectory(self.model, config, batches.batches_per_epoch)
            self.model.optimizer.build(self.model.trainable_variables)
            self.untouched = [np.array(value) for value in self.model.optimizer.variables]
            self.answer = answering(self.model, config.evaluation.batch_size)
        model = self.model
        model.set_weights(self.fresh if start is None else start)
        if start is None:
            set_statistics(model, config, train)
        for variable, value in zip(model.optimizer.variables, self.untouched, strict=True):
            variable.assign(value)
        with tempfile.TemporaryDirectory() as folder:
            fit(
                model,
                batches,
                settings,
                checkpoint=Path(folder, "checkpoint"),
                history_file=Path(folder, "history.csv"),
                validate=lambda: {"val_score": self.judge(self.answer(validation), validation)},
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
