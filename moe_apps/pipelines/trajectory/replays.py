"""Pictures of test windows: vehicles on their lanes, what was predicted and what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Ellipse, Rectangle

from moe_apps.pipelines.charts import INK, MODEL, THIRD, save_chart
from moe_apps.pipelines.report import Figure
from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.data import TrajectoryData
from moe_apps.pipelines.trajectory.figures import SIDE_COLORS
from moe_apps.pipelines.trajectory.labels import INTENTIONS
from moe_apps.pipelines.trajectory.neighbours import LANE_WIDTH
from moe_apps.pipelines.trajectory.tracks import Tracks
from moe_apps.pipelines.trajectory.windows import lane_centres

Ints = npt.NDArray[np.int64]

BEHIND, MARGIN = 60.0, 15.0
"""Metres shown behind the vehicle, and beyond what is ahead of it."""


def replays(data: TrajectoryData, answer: Answer, folder: Path) -> Figure:
    """Six test windows: two of each intention where there are such.

    They are chosen by their place in the test part, and before changes near 2 s to the crossing,
    not by how well they are predicted.
    """
    chosen = choose(data)
    canvas = Canvas(figsize=(12, 2.1 * len(chosen) + 0.6), layout="constrained")
    grid = canvas.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for axes, number in zip(grid, chosen, strict=True):
        _draw(axes, data, answer, int(number))
    grid[-1].set_xlabel("metres along the road")
    handles, names = grid[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    caption = (
        "Test windows in the middle of the test part, before changes 2 s ahead of the crossing. "
        "Black: history and truth. Coloured: the trajectory for each intention, the more opaque "
        "the more probable, with the area of two deviations every second. Boxes: the vehicle and "
        "its neighbours at present."
    )
    return Figure(save_chart(canvas, folder, "replays"), "Replays", caption)


def choose(data: TrajectoryData) -> Ints:
    """Numbers of up to six test windows, two of each intention."""
    test, chosen = data.test, []
    for label in range(len(INTENTIONS)):
        rows = np.flatnonzero(test.judged & (test.intention == label))
        if label:
            near = np.abs(test.to_crossing[rows] - 2.0)
            rows = rows[near <= 0.3] if (near <= 0.3).any() else rows
        chosen += [rows[len(rows) * part // 3] for part in (1, 2) if len(rows)]
    if not chosen:
        chosen = [len(test) // 3, 2 * len(test) // 3]
    return np.unique(np.array(chosen, np.int64))


def _draw(axes: Any, data: TrajectoryData, answer: Answer, number: int) -> None:
    window, part = data.test.take(np.array([number])), answer.take(slice(number, number + 1))
    row = data.tracks.table.iloc[int(window.row[0])]
    origin = data.cutter.position[window.row[0]]
    ego, future = window.inputs["ego"][0], window.future[0]
    neighbours, present = window.inputs["neighbours"][0, -1], window.inputs["present"][0, -1]
    assert part.modes is not None and part.forecast is not None
    reach = max(float(future[-1, 0]), float(part.forecast[0, -1, 0])) + MARGIN
    _lanes(axes, data, str(row["recording"]), origin, reach)
    length = row["length"] if np.isfinite(row["length"]) else 4.5
    width = row["width"] if np.isfinite(row["width"]) else 1.8
    axes.add_patch(Rectangle((-length / 2, -width / 2), length, width, color=INK, zorder=4))
    for (x, y), there in zip(neighbours, present, strict=True):
        if there:
            axes.add_patch(Rectangle((x - 2.25, y - 0.9), 4.5, 1.8, color=THIRD, zorder=3))
    axes.plot(ego[:, 0], ego[:, 1], "-", color=INK, linewidth=1.2)
    future = np.concatenate([[[0.0, 0.0]], future])
    axes.plot(future[:, 0], future[:, 1], "--", color=INK, linewidth=1.4, label="truth", zorder=5)
    weights = np.asarray(part.mode_probability)[0]
    for mode, weight in enumerate(weights):
        name = INTENTIONS[mode] if len(weights) > 1 else "forecast"
        color = SIDE_COLORS.get(name, MODEL)
        opacity = 0.12 + 0.88 * float(weight)
        way = np.concatenate([[[0.0, 0.0]], part.modes[0, mode]])
        axes.plot(way[:, 0], way[:, 1], color=color, alpha=opacity, linewidth=2, label=name)
        if part.deviation is not None and part.correlation is not None and weight > 0.05:
            _areas(axes, data, part, mode, color, opacity)
    said = ""
    if part.probability is not None:
        said = ", ".join(
            f"{name} {p:.0%}" for name, p in zip(INTENTIONS, part.probability[0], strict=True)
        )
    true = INTENTIONS[window.intention[0]] if window.intention[0] >= 0 else "unknown"
    title = f"{row['recording']}, vehicle {row['vehicle']}: true {true}; predicted {said}"
    axes.set_title(title, loc="left", fontsize=9)
    axes.set(xlim=(-BEHIND, reach), ylim=(-7, 7), ylabel="m to the left")


def lane_edges(tracks: Tracks, recording: str) -> list[float]:
    """Where the lanes of a recording end, in metres from the right to the left; none if unknown.

    Between their centres, and half a width outside.

    Example:
        >>> rows = {"vehicle": [1, 2], "frame": 0, "x": 0.0, "y": [0.0, 3.0], "lane": [0, 1]}
        >>> lane_edges(Tracks.of(rows, rate=5, lane_width=4.0), "")
        [-2.0, 1.5, 5.0]
    """
    centres = lane_centres(tracks.table)
    if recording not in centres.index.get_level_values(0):
        return []
    own = np.sort(centres[recording].to_numpy())
    half = (tracks.lane_width or LANE_WIDTH) / 2
    edges = [own[0] - half, *((own[1:] + own[:-1]) / 2), own[-1] + half]
    return [float(edge) for edge in edges]


def _lanes(axes: Any, data: TrajectoryData, recording: str, origin: Any, reach: float) -> None:
    edges = [edge - origin[1] for edge in lane_edges(data.tracks, recording)]
    for edge in edges:
        outer = edge in (edges[0], edges[-1])
        axes.plot([-BEHIND, reach], [edge, edge], "-" if outer else "--", color="#c3cad3", zorder=1)


def _areas(
    axes: Any, data: TrajectoryData, part: Answer, mode: int, color: str, opacity: float
) -> None:
    """Ellipses of two deviations at every second."""
    assert part.modes is not None and part.deviation is not None and part.correlation is not None
    rate = data.tracks.rate
    for second in range(1, int(len(part.modes[0, mode]) / rate + 1e-9) + 1):
        step = round(second * rate) - 1
        sx, sy = part.deviation[0, mode, step]
        rho = part.correlation[0, mode, step]
        covariance = np.array([[sx**2, rho * sx * sy], [rho * sx * sy, sy**2]], np.float64)
        values, vectors = np.linalg.eigh(covariance)
        width, height = 4 * np.sqrt(np.maximum(values, 0))
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        axes.add_patch(
            Ellipse(
                part.modes[0, mode, step],
                width,
                height,
                angle=angle,
                color=color,
                alpha=0.25 * opacity,
                linewidth=0,
                zorder=2,
            )
        )
