"""Figures of a recommendation run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Canvas

from moe_apps.pipelines.charts import FOURTH, INK, MODEL, SECOND, THIRD, save_chart
from moe_apps.pipelines.recommendation.metrics import calibration_curve
from moe_apps.pipelines.recommendation.schema import Schema
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.recommendation.uplift import gain_curve
from moe_apps.pipelines.report import Figure

FloatArray = npt.NDArray[np.floating]

COLORS = {
    "model": MODEL,
    "dense twin": FOURTH,
    "logistic regression": SECOND,
    "LightGBM": "#5b8e7d",
}


def gate_weights(gates: Mapping[str, Mapping[str, Any]], folder: Path) -> Figure:
    """Heat map of the mean weight that each gate gives each expert, a panel a width of gates."""
    widths: dict[int, list[str]] = {}
    for name, gate in gates.items():
        widths.setdefault(len(gate["weight"]), []).append(name)
    heights = [0.42 * len(names) + 0.9 for names in widths.values()]
    widest = max(widths)
    canvas = Canvas(figsize=(min(3.2 + 0.62 * widest, 11), sum(heights)), layout="constrained")
    grid = canvas.subplots(len(widths), 1, squeeze=False, height_ratios=heights).reshape(-1)
    # Equal weights are to look neither light nor dark.
    top = max(max(*gate["weight"], 2 / len(gate["weight"])) for gate in gates.values())
    for axes, (width, names) in zip(grid, widths.items(), strict=True):
        values = np.array([gates[name]["weight"] for name in names])
        image = axes.imshow(values, aspect="auto", cmap="magma_r", vmin=0, vmax=top)
        axes.set_xticks(range(width), [str(number) for number in range(width)], fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        if width <= 16:
            for (row, column), value in np.ndenumerate(values):
                color = "white" if value > 0.6 * top else INK
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color
                )
    grid[-1].set_xlabel("expert")
    canvas.colorbar(image, ax=list(grid), label="mean share of weight")
    caption = (
        "Mean share of the weight that each gate (task, or level and task) gives each expert, over "
        "the test rows; 0.00 also where a gate does not see an expert. Equal rows mean that the "
        "tasks do not differ."
    )
    return Figure(save_chart(canvas, folder, "gates"), "Gate weight by task and expert", caption)


def calibration(
    schema: Schema,
    table: Table,
    answers: Mapping[str, Mapping[str, FloatArray]],
    folder: Path,
) -> Figure:
    """Observed rate against predicted probability, a panel a binary task."""
    tasks = [task for task in schema.tasks if task.kind == "binary"][:4]
    canvas = Canvas(figsize=(4.4 * len(tasks), 4), layout="constrained")
    grid = canvas.subplots(1, len(tasks), squeeze=False).reshape(-1)
    for axes, task in zip(grid, tasks, strict=True):
        labels = table.labels[task.name]
        inside = ~np.isnan(labels)
        top = 0.0
        for name, color in COLORS.items():
            if task.name not in answers.get(name, {}):
                continue
            probabilities = np.clip(answers[name][task.name][inside], 0, 1)
            curve = calibration_curve(labels[inside], probabilities)
            axes.plot(curve["predicted"], curve["observed"], "o-", color=color, ms=3, label=name)
            top = max(top, curve["predicted"].max(), curve["observed"].max())
        axes.plot([0, top], [0, top], ":", color=THIRD, linewidth=1)
        axes.set(xlabel="predicted", ylabel="observed")
        axes.set_title(task.name, loc="left", fontsize=10)
    grid[0].legend(frameon=False, fontsize=8)
    caption = (
        "Ten equal parts of the test rows by predicted probability: mean prediction against "
        "observed rate. On the dotted line predictions can be taken at their word."
    )
    return Figure(save_chart(canvas, folder, "calibration"), "Calibration", caption)


def by_activity(
    schema: Schema, slices: Mapping[str, Mapping[str, list[dict[str, Any]]]], folder: Path
) -> Figure | None:
    """AUC by how much users did in training, a panel a binary task; None without users."""
    tasks = [
        task.name
        for task in schema.tasks
        if task.kind == "binary"
        and any(row["kind"] == "activity" for row in slices["model"].get(task.name, ()))
    ][:4]
    if not tasks:
        return None
    canvas = Canvas(figsize=(5 * len(tasks), 3.8), layout="constrained")
    grid = canvas.subplots(1, len(tasks), squeeze=False).reshape(-1)
    for axes, task in zip(grid, tasks, strict=True):
        for name, color in COLORS.items():
            rows = [r for r in slices.get(name, {}).get(task, ()) if r["kind"] == "activity"]
            values = [np.nan if row["auc"] is None else row["auc"] for row in rows]
            if rows:
                axes.plot(range(len(rows)), values, "o-", color=color, label=name)
        names = [_range(row["slice"]) for row in slices["model"][task] if row["kind"] == "activity"]
        axes.set_xticks(range(len(names)), names, fontsize=8)
        axes.set(xlabel="user's training rows", ylabel="AUC")
        axes.set_title(task, loc="left", fontsize=10)
        axes.grid(axis="y", color="#e4e7eb")
    grid[0].legend(frameon=False, fontsize=8)
    caption = "AUC of the test rows by how many training rows their user has, least active first."
    return Figure(save_chart(canvas, folder, "by_activity"), "AUC by activity", caption)


def _range(name: str) -> str:
    return name.removeprefix("users with ").removesuffix(" training rows")


def gains(
    task: str,
    table: Table,
    arm: npt.NDArray[np.integer],
    treatments: Sequence[str],
    effects: Mapping[str, FloatArray],
    folder: Path,
) -> Figure:
    """Gain by share of people treated, a panel a treatment."""
    canvas = Canvas(figsize=(4.8 * (len(treatments) - 1), 3.8), layout="constrained")
    grid = canvas.subplots(1, len(treatments) - 1, squeeze=False).reshape(-1)
    palette = [MODEL, FOURTH, SECOND, THIRD, "#5b8e7d"]
    for number, (axes, treatment) in enumerate(zip(grid, treatments[1:], strict=True), start=1):
        rows = (arm == 0) | (arm == number)
        for color, (name, effect) in zip(palette, effects.items(), strict=False):
            curve = gain_curve(
                table.labels[task][rows], arm[rows] == number, effect[rows, number - 1]
            )
            axes.plot(curve["share"], curve["gain"], color=color, linewidth=1.3, label=name)
        axes.plot([0, 1], [0, curve["gain"].iloc[-1]], ":", color=INK, linewidth=1)
        axes.set(xlabel="share treated, highest effect first", ylabel="gain per treated person")
        axes.set_title(treatment, loc="left", fontsize=10)
    grid[0].legend(frameon=False, fontsize=8)
    caption = f"What treating people in the predicted order gains in {task}; dotted: at random."
    return Figure(save_chart(canvas, folder, "gains"), f"Uplift of {task}", caption)


def training_curves(history: Sequence[Mapping[str, float]], folder: Path) -> Figure:
    """Loss and validation score by epoch."""
    epochs = [row["epoch"] for row in history]
    canvas = Canvas(figsize=(9, 3), layout="constrained")
    left, right = canvas.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], "o-", ms=3, color=INK)
    left.set_title("training loss", loc="left", fontsize=10)
    right.plot(epochs, [row["val_score"] for row in history], "o-", ms=3, color=MODEL)
    right.set_title("validation score", loc="left", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("epoch")
    caption = "Training by epoch. The epoch with the highest validation score is kept."
    return Figure(save_chart(canvas, folder, "training"), "Training", caption)
