"""Figures of a deraining run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Canvas

from moe_apps.pipelines.atomic_files import written_whole
from moe_apps.pipelines.deraining.examples import Example, Image
from moe_apps.pipelines.report import Figure

INK, MODEL, SECOND, THIRD = "#1f2933", "#d1495b", "#2a6f97", "#8d99ae"
SHOWN = 8
"""Images in the comparison at most."""


def _save(canvas: Canvas, folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    with written_whole(folder / f"{name}.png") as file:
        canvas.savefig(file, dpi=120, format="png")
    return folder / f"{name}.png"


def spread(examples: Sequence[Example]) -> list[Example]:
    """Examples of different kind and level, chosen by position, not by result."""
    first: dict[str, Example] = {}
    for example in examples:
        label = " ".join(example.labels.get(name, "") for name in ("kind", "level", "group"))
        first.setdefault(label, example)
    found = list(first.values())
    if len(found) < min(SHOWN, len(examples)):
        found += [example for example in examples if example not in found]
    places = np.unique(np.linspace(0, len(found) - 1, min(SHOWN, len(found))).round().astype(int))
    return [found[place] for place in places]


def comparison(
    examples: Sequence[Example],
    answer: Callable[[Image], Image],
    name: str,
    scores: Mapping[str, Any],
    folder: Path,
) -> Figure:
    """Input, output, truth and absolute error of test images."""
    shown = spread(examples)
    canvas = Canvas(figsize=(11, 2.75 * len(shown)), layout="constrained")
    grid = canvas.subplots(len(shown), 4, squeeze=False)
    for row, example in zip(grid, shown, strict=True):
        restored = answer(example.rainy)
        error = np.abs(restored.astype(float) - example.clean).mean(axis=-1) / 255
        for axes, image in zip(row, (example.rainy, restored, example.clean), strict=False):
            axes.imshow(image)
        row[3].imshow(error, cmap="magma", vmin=0, vmax=0.3)
        result = scores["by_image"].get(example.name)
        gain = f", {result['gain']:+.1f} dB" if result and result["gain"] is not None else ""
        row[0].set_title(example.name, fontsize=9, loc="left")
        row[1].set_title(f"{name}{gain}", fontsize=9, loc="left")
        row[2].set_title("truth", fontsize=9, loc="left")
        row[3].set_title("error (0 to 0.3)", fontsize=9, loc="left")
        for axes in row:
            axes.set_axis_off()
    caption = (
        "Test images, one of each kind and level where there is room, chosen by their place in "
        "the list and not by the result; the gain is that of PSNR over the input."
    )
    return Figure(_save(canvas, folder, "comparison"), "Input, output, truth, error", caption)


def gain_by_weather(scores: Mapping[str, Mapping[str, Any]], folder: Path) -> Figure | None:
    """Gain over the input by kind and level, of every system."""
    factor = next(
        (name for name in ("by_kind_and_level", "by_group", "by_level") if name in scores["model"]),
        None,
    )
    if factor is None:
        return None
    groups = list(scores["model"][factor])
    systems = [name for name in scores if name != "input"]
    canvas = Canvas(figsize=(11, 4), layout="constrained")
    axes = canvas.subplots()
    width = 0.8 / len(systems)
    colours = {"model": MODEL, "dense twin": "#e9a03b", "U-Net": SECOND}
    greys = iter(("#5f6b7a", "#8d99ae", "#c3cad4"))
    for number, name in enumerate(systems):
        values = [scores[name][factor][group]["gain"] for group in groups]
        heights = [np.nan if value is None else value for value in values]
        place = np.arange(len(groups)) + (number - (len(systems) - 1) / 2) * width
        axes.bar(place, heights, width, color=colours.get(name) or next(greys, INK), label=name)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("gain over the input, dB")
    axes.grid(axis="y", color="#e4e7eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.legend(loc="outside right upper", frameon=False, fontsize=8)
    caption = "Mean gain in PSNR over the degraded image; below 0 the image got worse."
    return Figure(_save(canvas, folder, "gain_by_weather"), "Gain by weather", caption)


def expert_use(
    routing: Mapping[str, Any],
    factor: str,
    layers: Sequence[str],
    experts: Sequence[str],
    folder: Path,
) -> Figure:
    """Difference of each group's mean weights from the mean of all, by layer and expert."""
    groups = routing[f"by_{factor}"]
    mean = np.array(routing["load"])
    columns = len(groups) + 1
    canvas = Canvas(
        figsize=(min(2.0 + 2.2 * columns, 16), 0.3 * len(layers) + 2.4), layout="constrained"
    )
    grid = canvas.subplots(1, columns, squeeze=False)[0]
    first = grid[0].imshow(mean, aspect="auto", cmap="viridis", vmin=0)
    grid[0].set_title("mean weight", fontsize=9)
    canvas.colorbar(first, ax=grid[0], location="bottom", shrink=0.9)
    differences = {name: np.array(values) - mean for name, values in groups.items()}
    top = max(float(np.abs(values).max()) for values in differences.values()) or 1e-9
    for axes, (name, values) in zip(grid[1:], differences.items(), strict=True):
        image = axes.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-top, vmax=top)
        axes.set_title(str(name)[:24], fontsize=9)
    canvas.colorbar(image, ax=list(grid[1:]), location="bottom", shrink=0.5, label="difference")
    for number, axes in enumerate(grid):
        axes.set_xticks(range(len(experts)), experts, rotation=90, fontsize=7)
        axes.set_yticks(
            range(len(layers)), layers if number == 0 else [""] * len(layers), fontsize=7
        )
    caption = (
        f"Left: mean weight of each expert over the test images. Then, by {factor}, how the mean "
        "weights differ from it; white means that the gate does not care."
    )
    return Figure(_save(canvas, folder, f"experts_by_{factor}"), f"Experts by {factor}", caption)


def maps(
    examples: Sequence[Example],
    explain: Callable[[Image], Mapping[str, npt.NDArray[Any]]],
    folder: Path,
) -> Figure | None:
    """The busiest expert of each place in the first layer, and how unsure the router is."""
    shown = spread(examples)[:4]
    found = [explain(example.rainy) for example in shown]
    if "routing" not in found[0] or found[0]["routing"].ndim != 4:
        return None
    unsure = "uncertainty" in found[0]
    columns = 3 if unsure else 2
    canvas = Canvas(figsize=(3.4 * columns, 2.9 * len(shown)), layout="constrained")
    grid = canvas.subplots(len(shown), columns, squeeze=False)
    largest = max(float(one["uncertainty"].max()) for one in found) if unsure else 0.0
    for row, example, one in zip(grid, shown, found, strict=True):
        row[0].imshow(example.rainy)
        row[0].set_title(example.name, fontsize=9, loc="left")
        busiest = one["routing"][:, :, 0].argmax(axis=-1)
        count = one["routing"].shape[-1]
        experts = row[1].imshow(
            busiest, cmap="tab10" if count <= 10 else "nipy_spectral", vmin=-0.5, vmax=count - 0.5
        )
        row[1].set_title("expert with the largest weight, layer 0", fontsize=9, loc="left")
        canvas.colorbar(experts, ax=row[1], shrink=0.8)
        if unsure:
            unsure_map = row[2].imshow(one["uncertainty"], cmap="magma", vmin=0, vmax=largest)
            row[2].set_title("uncertainty of the router", fontsize=9, loc="left")
            canvas.colorbar(unsure_map, ax=row[2], shrink=0.8)
        for axes in row:
            axes.set_axis_off()
    caption = "Left to right: input, the expert with the largest weight at each patch" + (
        ", variance of the router's logits under dropout." if unsure else "."
    )
    return Figure(_save(canvas, folder, "expert_maps"), "Experts by place", caption)


def training_curves(history: Sequence[Mapping[str, float]], folder: Path) -> Figure:
    """Training loss and validation PSNR by epoch."""
    epochs = [row["epoch"] for row in history]
    canvas = Canvas(figsize=(11, 3), layout="constrained")
    left, right = canvas.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], color=INK, marker="o", markersize=3)
    left.set_title("training loss", loc="left", fontsize=10)
    right.plot(epochs, [row["val_psnr"] for row in history], color=MODEL, marker="o", markersize=3)
    right.set_title("validation PSNR, dB", loc="left", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    caption = "Training by epoch. The epoch with the highest validation PSNR is kept."
    return Figure(_save(canvas, folder, "training"), "Training", caption)
