"""Trains a network on prepared data, and calls it on tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.models.recommendation import Ranker
from moe_apps.pipelines.recommendation.batches import training_batches
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.judgement import judge, monitored
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.recommendation.preprocessing import Arrays
from moe_apps.pipelines.recommendation.systems import (
    answer_function,
    compile_ranker,
    gate_function,
)
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.specialisation import routing_values
from moe_apps.pipelines.training import TrainingResult, fit, set_seed

LOOKED_AT = 2048  # rows that gates are looked at on after an epoch


def fit_ranker(
    model: Ranker,
    config: RecommendationConfig,
    data: Prepared,
    arrays: tuple[Arrays, Arrays],
    folder: Path,
    kind: str = "model",
    *,
    resume: bool = False,
    on_epoch: Sequence[Callable[[int, dict[str, float]], None]] = (),
) -> TrainingResult:
    """Train a network in place, keeping the epoch with the best validation score.

    Args:
        model: With fresh weights.
        config: How to train.
        data: Its validation rows, and what turns columns into inputs.
        arrays: Inputs and targets of the training rows, see `Prepared.training_arrays`.
        folder: Where checkpoint and history go: those of a run.
        kind: `model`, or the name of another network of the run.
        resume: Go on from its checkpoint, if there is one.
        on_epoch: See `training.fit`.
    """
    set_seed(config.seed)
    inputs, targets = arrays
    batches = training_batches(
        inputs_of(model, inputs),
        {name: targets[name] for name in model.task_names},
        config.train.batch_size,
        config.seed,
        config.train.steps_per_epoch,
    )
    compile_ranker(model, config, data.preprocessing, batches.batches_per_epoch)
    answer = answers_function(model, data, config.evaluation.batch_size)
    main = kind == "model"
    gates = gate_function(model, config.evaluation.batch_size) if main else None
    rows = inputs_of(model, data.arrays(data.validation.take(slice(0, LOOKED_AT)))[0])

    def validate() -> dict[str, float]:
        judged = judge(data.schema, data.validation, answer(data.validation), k=config.evaluation.k)
        made = {"val_score": monitored(data.schema, judged["tasks"])}
        for task, figures in judged["tasks"].items():
            for name in {data.schema.task(task).metric, "log_loss", "rmse"}:
                if isinstance(figures.get(name), float):
                    made[f"val_{task}_{name}"] = figures[name]
        if gates is not None:
            made |= routing_values({f"gate_{name}": w for name, w in gates(rows).items()})
        return made

    run = RunFolder(folder)
    return fit(
        model,
        batches,
        config.train,
        checkpoint=run.checkpoint / kind,
        history_file=run.history_file if main else run.path / f"{kind}_history.csv",
        validate=validate,
        monitor="val_score",
        mode="max",
        on_epoch=on_epoch,
        resume=resume and (run.checkpoint / kind).exists(),
        title=config.model.name if main else kind.replace("_", " "),
    )


def inputs_of(model: Ranker, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a model reads; the user only where it asks for users in training."""
    wanted = {*model.fields.inputs(), *model.extra_inputs}
    return {name: value for name, value in inputs.items() if name in wanted}


def answers_function(model: Ranker, data: Prepared, batch_size: int) -> Any:
    """A function of a table that gives predictions by task, in the units of the labels."""
    answer = answer_function(model, batch_size)

    def of_table(table: Table) -> dict[str, npt.NDArray[np.floating]]:
        found = answer(inputs_of(model, data.arrays(table)[0]))
        return {
            name: data.preprocessing.in_units(name, values.astype(np.float64))
            for name, values in found.items()
        }

    return of_table
