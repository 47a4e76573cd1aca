"""Colours of all charts, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas

from moe_apps.pipelines.atomic_files import written_whole

INK, MODEL, SECOND, THIRD, FOURTH = "#1f2933", "#d1495b", "#2a6f97", "#8d99ae", "#e9a03b"


def save_chart(canvas: Canvas, folder: Path, name: str) -> Path:
    """Write a chart as `folder/name.png`, whole or not at all, and return the file.

    Example:
        >>> save_chart(Canvas(), run.figures, "training")  # doctest: +SKIP
    """
    folder.mkdir(exist_ok=True)
    for axes in canvas.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with written_whole(folder / f"{name}.png") as file:
        canvas.savefig(file, dpi=130, format="png")
    return folder / f"{name}.png"


def draw_confusion(axes: Any, counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Any:
    """Draw a confusion matrix, rows the truth, in shares of it; return the image.

    Example:
        >>> axes = Canvas().subplots()
        >>> draw_confusion(axes, [[3, 1], [0, 2]], ["ship", "sea"]).get_array().tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    matrix = np.array(counts, dtype=float)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        color = "white" if shares[row, column] > 0.5 else INK
        text = f"{shares[row, column]:.0%}\n{int(matrix[row, column]):,}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true")
    return image
