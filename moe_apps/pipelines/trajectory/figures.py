"""Figures of a trajectory run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure as Canvas

from moe_apps.models.trajectory.tasks import TASKS
from moe_apps.pipelines.charts import FOURTH, INK, MODEL, SECOND, THIRD, draw_confusion, save_chart
from moe_apps.pipelines.report import Figure
from moe_apps.pipelines.trajectory.labels import INTENTIONS

Floats = npt.NDArray[np.floating]

STYLE = {
    "TMMOE": (MODEL, "-"),
    "dense twin": (FOURTH, "-"),
    "lstm multi task": (SECOND, "-"),
    "lstm single task": (SECOND, "--"),
    "constant velocity": (INK, "--"),
    "constant acceleration": (THIRD, "--"),
}
SIDE_COLORS = {"keep": THIRD, "left": SECOND, "right": MODEL}


def error_by_horizon(by_step: Mapping[str, Sequence[float]], rate: float, folder: Path) -> Figure:
    """RMSE by seconds ahead, a line a system."""
    canvas = Canvas(figsize=(8, 3.6), layout="constrained")
    axes = canvas.subplots()
    for name, values in by_step.items():
        color, line = STYLE.get(name, (THIRD, ":"))
        width = 2.2 if name == "TMMOE" else 1.5
        ahead = np.arange(1, len(values) + 1) / rate
        axes.plot(ahead, values, line, color=color, linewidth=width, label=name)
    axes.set(xlabel="seconds ahead", ylabel="RMSE (m)", xlim=(0, None), ylim=(0, None))
    axes.grid(axis="y", color="#e4e7eb")
    axes.legend(frameon=False, fontsize=9)
    caption = "Root mean squared distance from the truth over all test windows, by seconds ahead."
    return Figure(save_chart(canvas, folder, "rmse_by_horizon"), "RMSE by horizon", caption)


def confusion(counts: Sequence[Sequence[int]], folder: Path) -> Figure:
    """Confusion matrix of intentions, in shares of the truth."""
    canvas = Canvas(figsize=(4.6, 3.8), layout="constrained")
    axes = canvas.subplots()
    image = draw_confusion(axes, counts, INTENTIONS)
    canvas.colorbar(image, ax=axes, label="share of the true intention", shrink=0.8)
    caption = (
        "Intentions on test windows, as many of each. Rows are the truth; the diagonal is right."
    )
    return Figure(save_chart(canvas, folder, "confusion"), "Confusion of intentions", caption)


def by_time_to_crossing(
    scores: Mapping[str, Sequence[Mapping[str, float]]], folder: Path
) -> Figure:
    """Macro F1 by seconds to the crossing, a line a system."""
    canvas = Canvas(figsize=(8, 3.4), layout="constrained")
    axes = canvas.subplots()
    for name, rows in scores.items():
        color, line = STYLE.get(name, (THIRD, ":"))
        seconds = [row["seconds"] for row in rows]
        axes.plot(seconds, [row["macro_f1"] for row in rows], line, color=color, marker="o",
                  markersize=4, label=name)  # fmt: skip
    axes.invert_xaxis()
    axes.set(xlabel="seconds to the crossing (at most)", ylabel="macro F1", ylim=(0, 1.02))
    axes.grid(axis="y", color="#e4e7eb")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    caption = (
        "How well intentions are told, by how long before the crossing: windows of half a second "
        "before changes, beside as many that keep their lane."
    )
    return Figure(save_chart(canvas, folder, "f1_by_time"), "F1 by time to crossing", caption)


def gates_over_time(routing: Mapping[str, Any], folder: Path) -> Figure | None:
    """Gate weights by task (rows) and manoeuvre (columns) over the time to the crossing."""
    tasks = routing["tasks"]
    sides = list(tasks[TASKS[0]]["over_time"])
    if not sides:
        return None
    experts = routing["experts"]
    palette = colormaps["tab10"]
    canvas = Canvas(figsize=(3 + 3.4 * len(sides), 6.6), layout="constrained")
    grid = canvas.subplots(len(TASKS), 1 + len(sides), squeeze=False, sharey=True,
                           gridspec_kw={"width_ratios": [0.35, *[1] * len(sides)]})  # fmt: skip
    for row, task in enumerate(TASKS):
        keep = tasks[task]["by_intention"].get("keep", [0.0] * experts)
        bottom = 0.0
        for expert, weight in enumerate(keep):
            grid[row, 0].bar(0, weight, bottom=bottom, color=palette(expert % 10), width=0.9)
            bottom += weight
        grid[row, 0].set_xticks([])
        grid[row, 0].set_ylabel(f"{task}\ngate weight")
        for column, side in enumerate(sides, start=1):
            over = tasks[task]["over_time"][side]
            axes = grid[row, column]
            axes.stackplot(
                over["seconds"],
                np.array(over["weights"]).T,
                colors=[palette(e % 10) for e in range(experts)],
                labels=[f"expert {e}" for e in range(experts)],
            )
            axes.invert_xaxis()
            axes.set_ylim(0, 1)
    grid[0, 0].set_title("keep", fontsize=10)
    for column, side in enumerate(sides, start=1):
        grid[0, column].set_title(f"change to the {side}", fontsize=10)
        grid[-1, column].set_xlabel("seconds to the crossing")
    handles, names = grid[0, 1].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
    caption = (
        "Mean weight of each expert, for each task (rows): while the lane is kept, and before "
        "changes to either side by the time that is left. Bands that change their width towards "
        "the crossing belong to experts that know the manoeuvre."
    )
    return Figure(save_chart(canvas, folder, "gates_over_time"), "Gates over time", caption)


def calibration_curves(found: Mapping[str, Any], folder: Path) -> Figure:
    """Share of truths inside each central interval against the level it claims."""
    canvas = Canvas(figsize=(4.6, 3.8), layout="constrained")
    axes = canvas.subplots()
    axes.plot([0, 1], [0, 1], ":", color=THIRD, label="perfect")
    for name, color in (("longitudinal", MODEL), ("lateral", SECOND)):
        axes.plot(found["levels"], found[name], "o-", color=color, markersize=4, label=name)
    axes.set(
        xlabel="level of the interval", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend(frameon=False, fontsize=9)
    caption = (
        "Calibration of the predicted Gaussians over all test windows and steps. Above the dotted "
        "line they are too wide, below it too narrow."
    )
    return Figure(save_chart(canvas, folder, "calibration"), "Calibration", caption)


def training_curves(history: Sequence[Mapping[str, float]], folder: Path) -> Figure:
    """Loss, validation error, macro F1 and the tasks' log-variances by epoch."""
    epochs = [row["epoch"] for row in history]

    def column(name: str) -> list[float]:
        return [row.get(name, np.nan) for row in history]

    canvas = Canvas(figsize=(11, 5.6), layout="constrained")
    grid = canvas.subplots(2, 2)
    for axes, name, title in (
        (grid[0, 0], "loss", "training loss"),
        (grid[0, 1], "val_final_rmse", "validation RMSE at the horizon (m)"),
        (grid[1, 0], "val_macro_f1", "validation macro F1"),
    ):
        axes.plot(epochs, column(name), color=MODEL, marker="o", markersize=3)
        axes.set_title(title, loc="left", fontsize=10)
    for task, color in zip(TASKS, (MODEL, SECOND, FOURTH), strict=True):
        grid[1, 1].plot(epochs, column(f"log_variance/{task}"), color=color, label=task)
    grid[1, 1].set_title("learned log-variance of each task", loc="left", fontsize=10)
    grid[1, 1].legend(frameon=False, fontsize=8)
    for axes in grid[1]:
        axes.set_xlabel("epoch")
    caption = (
        "Training by epoch. A task with a low log-variance weighs more. The epoch is chosen on "
        "the validation part by RMSE over constant velocity's plus 1 - macro F1."
    )
    return Figure(save_chart(canvas, folder, "training"), "Training", caption)
