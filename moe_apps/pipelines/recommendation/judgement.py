"""Figures of a system's answers for rows: by task, in one score, and by part of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.recommendation.metrics import Figures, score_task
from moe_apps.pipelines.recommendation.rankings import grouped_ndcg
from moe_apps.pipelines.recommendation.schema import Schema, Task
from moe_apps.pipelines.recommendation.slices import score_slices, slices
from moe_apps.pipelines.recommendation.table import ABSENT, Table
from moe_apps.pipelines.recommendation.uplift import uplift_figures

FloatArray = npt.NDArray[np.floating]
Answers = Mapping[str, FloatArray]
"""Predictions `[rows]` by task: probabilities, or values in the label's unit."""

IN_TABLES = ("auc", "gauc", "log_loss", "calibration_ratio", "rmse", "mae", "r2")


def judge(
    schema: Schema, table: Table, answers: Answers, *, k: int = 10, train: Table | None = None
) -> dict[str, Any]:
    """Figures of answers for the rows of a table.

    Args:
        schema: What the columns mean.
        table: The rows.
        answers: Predictions by task; a task may be absent.
        k: Length of NDCG's lists.
        train: Training rows; with them also by domain, by activity, and cold against warm.

    Returns:
        `score` (see `overall`), the first task's figures under their own names, the others' as
        `<task>_<figure>`, all under `tasks`, and with `train` a list of rows under `slices`.
    """
    tasks = {
        task.name: _task_figures(task, table, answers[task.name], k)
        for task in schema.tasks
        if task.name in answers
    }
    made: dict[str, Any] = {"score": overall(schema, tasks)}
    for number, (name, figures) in enumerate(tasks.items()):
        for figure, value in figures.items():
            if number == 0 and (figure in IN_TABLES or figure.startswith("ndcg")):
                made[figure] = value
            elif number and figure == schema.task(name).metric:
                made[f"{name}_{figure}"] = value
    made["tasks"] = tasks
    if train is not None:
        made["slices"] = _slices(schema, train, table, answers)
    return made


def _task_figures(task: Task, table: Table, predictions: FloatArray, k: int) -> Figures:
    labels = table.labels[task.name]
    figures = score_task(task, labels, predictions, table.user)
    if task.metric == "ndcg":
        groups = np.full(len(table), ABSENT) if table.user is None else table.user.codes
        inside = ~np.isnan(labels)
        ndcg = grouped_ndcg(labels[inside], predictions[inside], groups[inside], k)
        figures = {"ndcg": ndcg, **figures}
    return figures


def overall(schema: Schema, tasks: Mapping[str, Figures]) -> float | None:
    """Mean over the tasks of the metric that the schema gives them, the higher the better.

    AUC, GAUC and NDCG as they are; for log_loss 1 less the normalised entropy; for rmse and mae
    R squared. So 0 is as good as knowing nothing for the last three, and 0.5 for AUC and GAUC.

    Example:
        >>> schema = Schema(
        ...     fields=[{"name": "age", "kind": "dense"}],
        ...     tasks=[{"name": "like", "label": "like"},
        ...            {"name": "stars", "label": "stars", "kind": "regression"}],
        ... )
        >>> figures = {"like": {"auc": 0.7}, "stars": {"rmse": 1.0, "r2": 0.2}}
        >>> round(overall(schema, figures), 6)
        0.45
    """
    values = []
    for name, figures in tasks.items():
        metric = schema.task(name).metric
        if metric in ("rmse", "mae"):
            values.append(figures.get("r2"))
        elif metric == "log_loss":
            entropy = figures.get("normalised_entropy")
            values.append(None if entropy is None else 1 - entropy)
        else:
            values.append(figures.get(metric))
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def monitored(schema: Schema, tasks: Mapping[str, Figures]) -> float:
    """The score, or where no task has one (such as AUC of a single class) less the mean error."""
    score = overall(schema, tasks)
    if score is not None:
        return score
    errors = [
        value
        for figures in tasks.values()
        for value in (figures.get("log_loss"), figures.get("rmse"))
        if value is not None
    ]
    return -float(np.mean(errors)) if errors else 0.0


def _slices(
    schema: Schema, train: Table, table: Table, answers: Answers
) -> dict[str, list[dict[str, Any]]]:
    both = Table.concatenate([train, table])
    first, rows = np.arange(len(train)), np.arange(len(train), len(train) + len(table))
    parts = slices(both, first, rows)
    return {
        task.name: score_slices(
            task, table.labels[task.name], answers[task.name], table.user, parts
        )
        for task in schema.tasks
        if task.name in answers
    }


def judge_uplift(
    table: Table,
    arm: npt.NDArray[np.integer],
    treatments: tuple[str, ...],
    effects: Mapping[str, FloatArray],
) -> dict[str, dict[str, Figures]]:
    """Qini and AUUC of each treatment against the control, by task and treatment.

    Args:
        table: The rows.
        arm: Number of each row's treatment, 0 for the control, negative for unknown.
        treatments: Their names, the control first.
        effects: Predicted effects by task, `[rows, treatments - 1]`.
    """
    made: dict[str, dict[str, Figures]] = {}
    for task, effect in effects.items():
        made[task] = {}
        for number, name in enumerate(treatments[1:], start=1):
            rows = (arm == 0) | (arm == number)
            made[task][name] = uplift_figures(
                table.labels[task][rows], arm[rows] == number, effect[rows, number - 1]
            )
    return made
