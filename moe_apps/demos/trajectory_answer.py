"""Vehicles and moments to choose from, and what is said of a prediction."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from moe_apps.demos.charts import GREY, experts_over_time, stacked_shares
from moe_apps.demos.reading import expert_reading
from moe_apps.demos.trajectory_replay import WAY_COLORS
from moe_apps.errors import DataError
from moe_apps.models.trajectory.tasks import TASKS
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.labels import INTENTIONS
from moe_apps.pipelines.trajectory.prediction import deviation
from moe_apps.pipelines.trajectory.windows import WindowCutter

BEFORE = 2.0
"""Seconds before a lane change at which a vehicle is looked at first."""
SIDES = {1: "to the left", 2: "to the right"}


def name_and_number(vehicle: str) -> tuple[str, int]:
    """Recording and number of a vehicle, from what a choice is called.

    Example:
        >>> name_and_number("us-101 #12")
        ('us-101', 12)
    """
    recording, _, number = vehicle.rpartition(" #")
    if not number.isdigit():
        raise DataError(f"'{vehicle}': is no vehicle; expected RECORDING #NUMBER")
    return recording, int(number)


def choices_of(cutter: WindowCutter) -> list[tuple[str, str]]:
    """Label and value of each vehicle with a window, those that change lanes first."""
    rows = cutter.rows(future=False)
    table = cutter.tracks.table.iloc[rows][["recording", "vehicle", "time"]]
    table = table.assign(crossing=table["time"] + cutter.to_crossing[rows])
    table = table.assign(side=cutter.intention[rows])
    changing, keeping = [], []
    for (recording, vehicle), own in table.groupby(["recording", "vehicle"], sort=True):
        value = f"{recording} #{vehicle}"
        before = own[own["side"] > 0]
        if len(before):
            when, where = before["crossing"].iloc[0], SIDES[int(before["side"].iloc[0])]
            changing.append((f"{value}: {where} at {when:.1f} s", value))
        else:
            keeping.append((value, value))
    return changing + keeping


def rows_of(cutter: WindowCutter, vehicle: tuple[str, int], file: str) -> npt.NDArray[np.int64]:
    """Last rows of the history of all windows of a vehicle."""
    rows = cutter.rows(future=False)
    table = cutter.tracks.table
    own = (table["recording"].to_numpy()[rows] == vehicle[0]) & (
        table["vehicle"].to_numpy()[rows] == vehicle[1]
    )
    if not own.any():
        raise DataError(
            f"{file}: has no vehicle '{vehicle[0]} #{vehicle[1]}' that can be predicted"
        )
    return rows[own]


def moments_of(cutter: WindowCutter, vehicle: tuple[str, int], file: str) -> Any:
    """A slider over the moments of a vehicle, at the one to look at first."""
    rows = rows_of(cutter, vehicle, file)
    time = cutter.tracks.table["time"].to_numpy()[rows]
    crossing = cutter.to_crossing[rows]
    near = np.where(cutter.intention[rows] > 0, np.abs(crossing - BEFORE), np.inf)
    best = int(near.argmin()) if np.isfinite(near).any() else len(rows) // 2
    top = max(float(time[-1]), float(time[0]) + 0.1)
    return gr.update(minimum=float(time[0]), maximum=top, value=float(time[best]))


def intentions_over_time(time: Any, answer: Answer, now: float) -> go.Figure:
    """Probability of each intention at all moments of a vehicle."""
    assert answer.probability is not None
    figure = stacked_shares(time, answer.probability, INTENTIONS, list(WAY_COLORS.values()))
    figure.update_xaxes(title_text="seconds")
    return _marked(figure, now)


def gates_over_time(time: Any, answer: Answer, now: float) -> go.Figure | None:
    """Weight of each expert for each task at all moments; None without experts."""
    if answer.gates is None:
        return None
    figure = experts_over_time(time, answer.gates, TASKS)
    figure.update_xaxes(title_text="seconds", row=len(TASKS), col=1)
    return _marked(figure, now)


def _marked(figure: go.Figure, now: float) -> go.Figure:
    figure.add_vline(x=float(now), line={"color": GREY, "width": 2})
    return figure


def words_of(cutter: WindowCutter, row: int, answer: Answer) -> str:
    """What is expected of the vehicle, how sure that is, and what came where it is known."""
    assert answer.probability is not None and answer.forecast is not None
    one, settings = cutter.tracks.table.iloc[row], cutter.settings
    chances = ", ".join(
        f"{name} {chance:.0%}"
        for name, chance in zip(INTENTIONS, answer.probability[0], strict=True)
    )
    place = f" of {one['recording']}" if one["recording"] else ""
    lines = [
        f"**Vehicle {one['vehicle']}{place} at {one['time']:.1f} s.** Lane within "
        f"{settings.intention_window:g} s: {chances}."
    ]
    end = answer.forecast[0, -1]
    line = f"In {settings.horizon:g} s it is expected {end[0]:.0f} m further on"
    spread = deviation(answer)
    if spread is not None:
        along, across = spread[0, -1]
        line += f"; how sure: a deviation of {along:.1f} m along and {across:.1f} m across the road"
    lines.append(line + ".")
    if row + settings.horizon_steps <= cutter.last[cutter.piece[row]]:
        came = cutter.position[row + settings.horizon_steps] - cutter.position[row]
        label = int(cutter.intention[row])
        lane = f"its lane: {INTENTIONS[label]}" if label >= 0 else "its lane is not known"
        lines.append(f"What came: it was {np.hypot(*(end - came)):.1f} m off that place; {lane}.")
    return "  \n".join(lines)


def reading_of(run: RunFolder, answer: Answer) -> str:
    """Which expert did most for each task."""
    if answer.gates is None:
        return ""
    tasks = {}
    if run.metrics_file.is_file():
        tasks = run.read_metrics()["routing"].get("tasks", {})
    lines = []
    for number, task in enumerate(TASKS):
        groups = tasks.get(task, {}).get("by_intention", {})
        said = expert_reading(answer.gates[0, number], groups, "intention", most=1)
        lines.append(said.replace("- ", f"- {task}: ", 1))
    return "\n".join(lines)
