"""The replay of the trajectory tab: vehicles on their lanes, moved by a slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from moe_apps.demos.charts import GREY, plain
from moe_apps.pipelines.charts import MODEL, SECOND
from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.labels import INTENTIONS
from moe_apps.pipelines.trajectory.replays import BEHIND, MARGIN, lane_edges
from moe_apps.pipelines.trajectory.windows import WindowCutter

Floats = npt.NDArray[np.floating]

WAY_COLORS = {"keep": "#66a182", "left": SECOND, "right": MODEL}
EGO = "#edae49"
LENGTH, WIDTH = 4.5, 1.8
"""Metres, of vehicles whose size is not known."""
UNLIKELY = 0.05
"""Ways below this probability have no area drawn around them."""

PLAY = """
() => {
  const plot = document.querySelector("#trajectory-replay .js-plotly-plot");
  if (!plot || !plot.layout.sliders) return;
  const steps = plot.layout.sliders[0].steps;
  let at = 0;
  clearInterval(window.moeAppsReplay);
  window.moeAppsReplay = setInterval(() => {
    if (at >= steps.length || !plot.isConnected) {
      clearInterval(window.moeAppsReplay);
      return;
    }
    const [update, traces] = steps[at].args;
    window.Plotly.update(plot, update, {"sliders[0].active": at}, traces);
    at += 1;
  }, 200);
}
"""
"""Moves the slider of the replay through all its steps; Gradio's plots know no animation."""


def replay_chart(cutter: WindowCutter, row: int, answer: Answer) -> go.Figure:
    """What was seen before a moment and what is predicted after it, on the lanes.

    The slider moves all vehicles from the beginning of the history to the end of the horizon: as
    they were recorded, and the vehicle itself as predicted where its recording ends.

    Args:
        cutter: Of the tracks.
        row: Of the present, in the table of tracks.
        answer: For this one window.
    """
    assert answer.modes is not None and answer.forecast is not None
    table, settings = cutter.tracks.table, cutter.settings
    recording = str(table["recording"].iloc[row])
    origin = cutter.position[row]
    ways = np.concatenate([np.zeros((len(answer.modes[0]), 1, 2)), answer.modes[0]], axis=1)
    first, last = cutter.first[cutter.piece[row]], cutter.last[cutter.piece[row]]
    begin = max(row - settings.history_steps + 1, int(first))
    end = min(row + settings.horizon_steps, int(last))
    own = cutter.position[begin : end + 1] - origin
    now = row - begin
    reach = max(float(ways[:, :, 0].max()), float(own[-1, 0])) + MARGIN
    figure = go.Figure()
    _draw_lanes(figure, [edge - origin[1] for edge in lane_edges(cutter.tracks, recording)], reach)
    _add_line(figure, own[: now + 1], "history", EGO, "solid")
    if end > row:
        _add_line(figure, own[now:], "what came", GREY, "dash")
    chances = np.asarray(answer.mode_probability)[0]
    for mode, chance in enumerate(chances):
        name = INTENTIONS[mode] if len(chances) > 1 else "forecast"
        color = WAY_COLORS.get(name, MODEL)
        label = f"{name} {chance:.0%}" if len(chances) > 1 else name
        opacity = 0.2 + 0.8 * float(chance)
        _add_line(figure, ways[mode], label, color, "solid", opacity)
    moving = len(figure.data)
    for color, name in ((GREY, "others"), (EGO, "this vehicle")):
        _add_area(figure, color, name, 0.9)
    likely = [mode for mode, chance in enumerate(chances) if chance > UNLIKELY]
    for mode in likely:
        name = INTENTIONS[mode] if len(chances) > 1 else "forecast"
        _add_area(figure, WAY_COLORS.get(name, MODEL), f"area of {name}", 0.3)
    frame = int(table["frame"].iloc[row])
    shown = (table["recording"] == recording) & table["frame"].between(
        frame - settings.history_steps, frame + settings.horizon_steps
    )
    by_frame = dict(list(table[shown].groupby("frame")))
    steps = []
    for step in range(1 - settings.history_steps, settings.horizon_steps + 1):
        there = by_frame.get(frame + step)
        shapes = [_others(there, int(table["vehicle"].iloc[row]), origin, reach)]
        shapes.append(_ego(cutter, row, step, own, now, answer))
        shapes += [_area(answer, mode, step) for mode in likely]
        steps.append((step / settings.rate, shapes))
    _add_slider(figure, steps, moving, active=settings.history_steps - 1)
    figure.update_xaxes(range=[-BEHIND, reach], title_text="metres along the road")
    figure.update_yaxes(title_text="metres to the left")
    plain(figure, height=490)
    figure.update_layout(margin={"b": 130})
    return figure


def _draw_lanes(figure: go.Figure, edges: Sequence[float], reach: float) -> None:
    for number, edge in enumerate(edges):
        outer = number in (0, len(edges) - 1)
        line = {"color": "rgba(128,128,128,0.6)", "width": 2 if outer else 1}
        line["dash"] = "solid" if outer else "dash"
        figure.add_shape(
            type="line", x0=-BEHIND, x1=reach, y0=edge, y1=edge, line=line, layer="below"
        )
    if edges:
        figure.update_yaxes(range=[edges[0] - 1.5, edges[-1] + 1.5])


def _add_line(
    figure: go.Figure, way: Floats, name: str, color: str, dash: str, opacity: float = 1.0
) -> None:
    figure.add_trace(
        go.Scatter(
            x=way[:, 0].round(2).tolist(),
            y=way[:, 1].round(2).tolist(),
            mode="lines",
            name=name,
            opacity=opacity,
            line={"color": color, "width": 3, "dash": dash},
            hovertemplate="%{x:.1f} m on, %{y:.1f} m to the left",
        )
    )


def _add_area(figure: go.Figure, color: str, name: str, opacity: float) -> None:
    figure.add_trace(
        go.Scatter(
            x=[],
            y=[],
            mode="lines",
            fill="toself",
            fillcolor=color,
            opacity=opacity,
            line={"color": color, "width": 1},
            name=name,
            showlegend=False,
            hoverinfo="skip",
        )
    )


Shape = tuple[list[float | None], list[float | None]]


def _others(rows: Any, ego: int, origin: Floats, reach: float) -> Shape:
    """Boxes of all other vehicles of a frame that are in view."""
    x: list[float | None] = []
    y: list[float | None] = []
    if rows is None:
        return x, y
    for one in rows.itertuples():
        ahead = one.x - origin[0]
        if one.vehicle == ego or not -BEHIND <= ahead <= reach:
            continue
        box = _box(ahead, one.y - origin[1], one.length, one.width)
        x += [*box[0], None]
        y += [*box[1], None]
    return x, y


def _ego(cutter: WindowCutter, row: int, step: int, own: Floats, now: int, answer: Answer) -> Shape:
    one = cutter.tracks.table.iloc[row]
    place = min(max(now + step, 0), len(own) - 1)
    at = own[place]
    if step > 0 and now + step >= len(own):
        assert answer.forecast is not None
        at = answer.forecast[0, step - 1]
    return _box(float(at[0]), float(at[1]), one["length"], one["width"])


def _box(x: float, y: float, length: float, width: float) -> Shape:
    a = (length if np.isfinite(length) else LENGTH) / 2
    b = (width if np.isfinite(width) else WIDTH) / 2
    xs = [x - a, x + a, x + a, x - a, x - a]
    ys = [y - b, y - b, y + b, y + b, y - b]
    return [round(one, 2) for one in xs], [round(one, 2) for one in ys]


def _area(answer: Answer, mode: int, step: int) -> Shape:
    """The area of two deviations around a way; a dot without deviations, nothing in the past."""
    if step <= 0:
        return [], []
    assert answer.modes is not None
    center = answer.modes[0, mode, step - 1]
    if answer.deviation is None or answer.correlation is None:
        return _box(float(center[0]), float(center[1]), 1.0, 0.5)
    sx, sy = answer.deviation[0, mode, step - 1]
    rho = answer.correlation[0, mode, step - 1]
    angle = np.linspace(0, 2 * np.pi, 25)
    across = rho * np.cos(angle) + np.sqrt(max(1 - rho**2, 0)) * np.sin(angle)
    x = center[0] + 2 * sx * np.cos(angle)
    y = center[1] + 2 * sy * across
    return x.round(2).tolist(), y.round(2).tolist()


def _add_slider(
    figure: go.Figure, steps: list[tuple[float, list[Shape]]], moving: int, active: int
) -> None:
    traces = list(range(moving, len(figure.data)))
    made = [
        {
            "label": f"{seconds:+.1f} s",
            "method": "restyle",
            "args": [{"x": [x for x, _ in shapes], "y": [y for _, y in shapes]}, traces],
        }
        for seconds, shapes in steps
    ]
    for number, (x, y) in zip(traces, steps[active][1], strict=True):
        figure.data[number].x, figure.data[number].y = x, y
    figure.update_layout(
        sliders=[
            {
                "steps": made,
                "active": active,
                "currentvalue": {"prefix": "From the moment: ", "xanchor": "left"},
                "pad": {"t": 62, "b": 4},
                "tickcolor": GREY,
                "font": {"color": GREY},
            }
        ]
    )
