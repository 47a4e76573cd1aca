"""Colours of all charts, and how they are written."""

from __future__ import annotations

from pathlib import Path

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
