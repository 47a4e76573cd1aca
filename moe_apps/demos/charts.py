"""Plotly figures that several tabs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from moe_apps.pipelines.charts import FOURTH, MODEL, SECOND

COLORS = (SECOND, MODEL, FOURTH, "#66a182", "#8d6a9f", "#5c677d", "#e07a5f", "#3d7ea6")
GREY = "#7a8190"
"""Of text: it is read on white and on the dark background alike."""
NO_BUTTONS = ("zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale", "resetScale")
MOST_LAYERS = 4
"""Layers of a model that are shown, the first ones."""


def plain(figure: go.Figure, height: int = 320) -> go.Figure:
    """The common look: no box, room for labels, colours that work in light and dark.

    Figures have no title: the label of the plot says what is shown.
    """
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 16, "t": 76, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 12},
        colorway=list(COLORS),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"color": "#ffffff"}, "bgcolor": "#3d4654"},
        dragmode=False,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "remove": list(NO_BUTTONS)},
    )
    axes = {"gridcolor": "rgba(128,128,128,0.2)", "linecolor": "rgba(128,128,128,0.4)"}
    figure.update_xaxes(**axes, zeroline=False, automargin=True)
    figure.update_yaxes(**axes, zeroline=False, automargin=True)
    figure.update_annotations(font={"size": 12, "color": GREY})
    return figure


def expert_shares(
    shares: Sequence[Sequence[float]] | Any, layers: Sequence[str], experts: Sequence[str]
) -> go.Figure:
    """A table of weights in colours.

    Args:
        shares: `[layers][experts]`, 0 to 1; NaN where a layer has no such expert.
        layers: Names of the rows.
        experts: Names of the columns.

    Example:
        >>> expert_shares([[0.25, 0.75]], ["gate"], ["1", "2"]).data[0].text[0][1]
        '75%'
    """
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(experts),
            y=list(layers),
            text=[["" if np.isnan(share) else f"{share:.0%}" for share in row] for row in shares],
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=max(float(np.nanmax(np.asarray(shares, float))), 1e-9),
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="%{y}, expert %{x}: %{z:.1%}<extra></extra>",
        )
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(autorange="reversed", type="category")
    return plain(figure, height=150 + 40 * len(layers))


def experts_over_time(
    times: Sequence[Any] | Any, weights: npt.NDArray[Any], names: Sequence[str]
) -> go.Figure:
    """The weight of each expert at each time step, a panel a layer or task.

    Args:
        times: `[time]`.
        weights: `[time, panels, experts]`, 0 to 1.
        names: Of the panels.

    Example:
        >>> len(experts_over_time([1, 2], np.full((2, 3, 4), 0.25), ["a", "b", "c"]).data)
        3
    """
    names = list(names)[:MOST_LAYERS]
    experts = [str(number) for number in range(weights.shape[-1])]
    figure = make_subplots(
        len(names), 1, shared_xaxes=True, vertical_spacing=0.26 / len(names), subplot_titles=names
    )
    top = max(float(weights.max()), 1e-9)
    for row in range(len(names)):
        figure.add_trace(
            go.Heatmap(
                z=weights[:, row].T.astype(np.float32),
                x=times,
                y=experts,
                zmin=0,
                zmax=top,
                colorscale="Blues",
                showscale=False,
                hovertemplate="%{x}<br>expert %{y}: %{z:.0%}<extra></extra>",
            ),
            row + 1,
            1,
        )
    figure.update_yaxes(title_text="expert", type="category")
    return plain(figure, height=140 + len(names) * (40 + 14 * len(experts)))


def stacked_shares(
    times: Sequence[Any] | Any,
    shares: npt.NDArray[Any],
    names: Sequence[str],
    colors: Sequence[str] = COLORS,
) -> go.Figure:
    """Shares that sum to 1, as areas over time.

    Args:
        times: `[time]`.
        shares: `[time, parts]`.
        names: Of the parts.
        colors: Of the parts.

    Example:
        >>> [one.name for one in stacked_shares([0, 1], np.full((2, 2), 0.5), ["a", "b"]).data]
        ['a', 'b']
    """
    figure = go.Figure()
    for number, name in enumerate(names):
        figure.add_trace(
            go.Scatter(
                x=times,
                y=shares[:, number],
                name=name,
                stackgroup="all",
                mode="lines",
                line={"width": 0.5, "color": colors[number % len(colors)]},
                hovertemplate="%{y:.0%}",
            )
        )
    figure.update_yaxes(range=[0, 1], tickformat=".0%")
    figure.update_layout(hovermode="x unified")
    return plain(figure, height=300)
