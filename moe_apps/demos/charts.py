"""Plotly figures that several tabs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

COLORS = ("#2a6f97", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#5c677d", "#e07a5f", "#3d405b")


def plain(figure: go.Figure, height: int = 320) -> go.Figure:
    """The common look: no box, room for labels, colours that work in light and dark."""
    figure.update_layout(
        height=height,
        margin={"l": 48, "r": 16, "t": 40, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#7a8190"},
        colorway=list(COLORS),
        legend={"orientation": "h", "y": 1.12},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.2)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.2)", zeroline=False)
    return figure


def expert_shares(
    shares: Sequence[Sequence[float]] | Any,
    layers: Sequence[str],
    experts: Sequence[str],
    title: str = "Share of each expert",
) -> go.Figure:
    """A table of weights in colours.

    Args:
        shares: `[layers][experts]`, 0 to 1.
        layers: Names of the rows.
        experts: Names of the columns.
        title: What is shown.

    Example:
        >>> expert_shares([[0.25, 0.75]], ["gate"], ["1", "2"]).data[0].text[0][1]
        '75%'
    """
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(experts),
            y=list(layers),
            text=[[f"{share:.0%}" for share in row] for row in shares],
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            showscale=False,
            hovertemplate="%{y}, %{x}: %{z:.1%}<extra></extra>",
        )
    )
    figure.update_layout(title=title)
    figure.update_yaxes(autorange="reversed")
    return plain(figure, height=120 + 36 * len(layers))
