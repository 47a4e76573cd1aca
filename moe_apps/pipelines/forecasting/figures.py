"""Figures of a forecasting run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure as Canvas

from moe_apps.pipelines.charts import FOURTH, INK, MODEL, SECOND, THIRD, save_chart
from moe_apps.pipelines.forecasting.windows import Batch, WindowedPanel
from moe_apps.pipelines.report import Figure

FloatArray = npt.NDArray[np.floating]

STYLE = {"model": (MODEL, "-"), "dense twin": (FOURTH, "-"), "ridge": (SECOND, "-")}


def forecasts(
    data: WindowedPanel, answers: Mapping[str, Callable[[Batch], FloatArray]], folder: Path
) -> Figure:
    """Forecast against truth with the look-back, in the file's units.

    Of up to six series spread over the panel, the test window in the middle is shown: chosen by
    position, not by how well it is forecast.
    """
    windows = data.test
    shown = np.unique(np.linspace(0, len(data.panel.series) - 1, 6).round().astype(int))
    rows = -(-len(shown) // 2)
    canvas = Canvas(figsize=(11, 2.5 * rows + 0.5), layout="constrained")
    grid = canvas.subplots(rows, min(2, len(shown)), squeeze=False).reshape(-1)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    for axes, series in zip(grid, shown, strict=False):
        of_series = np.flatnonzero(windows.series_index == series)
        index = of_series[len(of_series) // 2 : len(of_series) // 2 + 1]
        if not len(index):
            axes.set_visible(False)
            continue
        batch = windows.gather(index)
        times = data.panel.times(data.panel.series[series])
        first = int(windows.target_rows(index)[0])
        past = slice(max(first - min(windows.look_back, 3 * windows.horizon), 0), first)
        future = slice(first, first + windows.horizon)
        history = data.unscale(batch.history, batch.series)[0][-(past.stop - past.start) :]
        truth = data.unscale(batch.target, batch.series)[0]
        axes.plot(times[past], history, color=THIRD, linewidth=1, label="look-back")
        axes.plot(times[future], truth, color=INK, linewidth=1.4, label="truth")
        for name, answer in answers.items():
            color, line = STYLE.get(name, (THIRD, ":"))
            values = data.unscale(answer(batch), batch.series)[0]
            axes.plot(times[future], values, line, color=color, linewidth=1.3, label=name)
        axes.axvline(times[first], color=THIRD, linewidth=0.8, linestyle=":")
        axes.set_title(data.panel.series[series].name, loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
        if isinstance(times, pd.DatetimeIndex):
            locator = AutoDateLocator(minticks=3, maxticks=8)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    handles, labels = grid[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False)
    caption = (
        "Test windows in the file's units, one a series, from the middle of the test part "
        "(chosen by position, not by error)."
    )
    return Figure(save_chart(canvas, folder, "forecasts"), "Forecast against truth", caption)


def error_by_step(by_step: Mapping[str, Sequence[float | None]], folder: Path) -> Figure:
    """Scaled MSE by step ahead, of the model, its dense twin and the baselines."""
    canvas = Canvas(figsize=(8, 3.6), layout="constrained")
    axes = canvas.subplots()
    for name, values in by_step.items():
        color, line = STYLE.get(name, (THIRD, "--" if name == "seasonal naive" else ":"))
        numbers = [np.nan if value is None else value for value in values]
        steps = np.arange(1, len(numbers) + 1)
        axes.plot(steps, numbers, line, color=color, linewidth=1.6, label=name)
    # A naive forecast that is far off would press the others together.
    compared = [by_step[name] for name in STYLE if name in by_step]
    top = 1.6 * max(value for values in compared for value in values if value is not None)
    axes.set(xlabel="steps ahead", ylabel="MSE (scaled)", ylim=(0, top))
    axes.grid(axis="y", color="#e4e7eb")
    canvas.legend(loc="outside right upper", frameon=False)
    caption = (
        "Mean squared error of scaled values over all test windows, by step ahead; a baseline "
        "that is far worse leaves the picture at the top."
    )
    return Figure(save_chart(canvas, folder, "error_by_step"), "Error by step", caption)


def expert_shares(routing: Mapping[str, Any], factor: str, folder: Path) -> Figure:
    """Heat map of each expert's weight share by hour, weekday, season or series, by layer."""
    groups = routing[f"by_{factor}"]
    label = "hour of day" if factor == "hour" else factor
    shares = np.array(list(groups.values()))  # (groups, layers, experts)
    layers, experts = shares.shape[1:]
    tall = factor == "series" and len(groups) > 8
    names = list(groups)
    height = 0.24 * experts + 1.3 if not tall else 0.24 * len(groups) + 1.3
    columns = 1 if not tall else layers
    canvas = Canvas(figsize=(9, height * (layers if not tall else 1)), layout="constrained")
    grid = canvas.subplots(layers // columns, columns, squeeze=False).reshape(-1)
    top = float(max(shares.max(), 1e-9))
    for layer, axes in enumerate(grid):  # one colour scale for all layers
        values = shares[:, layer]  # (groups, experts)
        image = axes.imshow(
            values if tall else values.T, aspect="auto", cmap="magma_r", vmin=0, vmax=top
        )
        axes.set_title(f"layer {layer}", loc="left", fontsize=10)
        across, down = (axes.xaxis, axes.yaxis) if tall else (axes.yaxis, axes.xaxis)
        across.set_ticks(range(experts), [str(e) for e in range(experts)], fontsize=8)
        across.set_label_text("expert")
        down.set_ticks(range(len(names)), names, fontsize=8)
        down.set_label_text(label)
    canvas.colorbar(image, ax=list(grid), label="share of routing weight", shrink=0.8)
    caption = (
        f"Share of the routing weight that each expert takes, by {label}, "
        "over the history of the test windows. Equal columns mean that experts do not care."
    )
    return Figure(
        save_chart(canvas, folder, f"experts_by_{factor}"),
        f"Experts by {label}",
        caption,
    )


def training_curves(history: Sequence[Mapping[str, float]], loss_name: str, folder: Path) -> Figure:
    """Loss, validation error, and the load and entropy of every layer's router by epoch."""
    epochs = [row["epoch"] for row in history]

    def column(name: str) -> list[float]:
        return [row.get(name, np.nan) for row in history]

    names = sorted({name for row in history for name in row})
    layers = sorted({name.partition("/")[0] for name in names if name.endswith("/entropy")})
    measured = [layer for layer in layers if np.nansum(column(f"{layer}/entropy")) > 0]
    canvas = Canvas(figsize=(11, 3.2 if not measured else 6.2), layout="constrained")
    grid = canvas.subplots(1 + bool(measured), 2, squeeze=False)
    grid[0, 0].plot(epochs, column("loss"), color=INK, marker="o", markersize=3)
    grid[0, 0].set_title(f"training loss ({loss_name})", loc="left", fontsize=10)
    kept = "CRPS" if "val_crps" in names else "MSE"
    grid[0, 1].plot(epochs, column(f"val_{kept.lower()}"), color=MODEL, marker="o", markersize=3)
    grid[0, 1].set_title(f"validation {kept} of forecasts (scaled)", loc="left", fontsize=10)
    if measured:
        palette = colormaps["viridis"]
        for number, layer in enumerate(measured):
            color = palette(number / max(len(measured) - 1, 1) * 0.85)
            loads = [column(name) for name in names if name.startswith(f"{layer}/load_")]
            for load in loads:
                grid[1, 0].plot(epochs, load, ".-", color=color, linewidth=0.8, alpha=0.8)
            grid[1, 0].plot([], [], color=color, label=layer)
            grid[1, 1].plot(epochs, column(f"{layer}/entropy"), ".-", color=color, label=layer)
        grid[1, 0].axhline(1 / len(loads), color=THIRD, linestyle=":", linewidth=1)
        grid[1, 0].set_title("load of each expert (dotted: equal)", loc="left", fontsize=10)
        grid[1, 1].axhline(np.log(len(loads)), color=THIRD, linestyle=":", linewidth=1)
        grid[1, 1].set_title("router entropy, nats (dotted: most)", loc="left", fontsize=10)
        grid[1, 0].set_ylim(0, None)
        grid[1, 1].set_ylim(0, None)
        grid[1, 1].legend(frameon=False, fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    caption = f"Training by epoch. The epoch with the lowest validation {kept} is kept."
    return Figure(save_chart(canvas, folder, "training"), "Training", caption)
