"""The figure of the acoustic tab: sound, features, decisions and experts over one time axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from moe_apps.demos.charts import GREY, plain
from moe_apps.pipelines.acoustic.answers import Answer
from moe_apps.pipelines.acoustic.extraction import Segments
from moe_apps.pipelines.charts import SECOND

BUCKETS = 700
"""Of the waveform, each drawn from its lowest to its highest sample."""

Floats = npt.NDArray[np.floating]


def listening_chart(
    waveform: Floats,
    rate: int,
    segments: Segments,
    answer: Answer,
    classes: tuple[str, ...],
    segment: float,
    bands: str,
) -> go.Figure:
    """Waveform, features, and by segment the probability of each class and share of each expert.

    Args:
        waveform: `[samples]`.
        rate: Hz.
        segments: With `image` among their features, or without.
        answer: For the segments.
        classes: Names.
        segment: Seconds of one.
        bands: Name of the features' frequency axis.
    """
    image = segments.inputs.get("image")
    parts: list[tuple[str, float, Any, str]] = [
        ("waveform", 90, _waveform(waveform, rate), ""),
    ]
    if image is not None:
        parts.append(
            ("what the model looks at", 170, _features(image, segments.start, segment), bands)
        )
    edges = [*segments.start, segments.start[-1] + segment]
    probability = _by_segment(edges, answer.probability, list(classes), "class %{y}: %{z:.0%}")
    heights = 22.0
    parts.append(("probability of each class", 24 + heights * len(classes), probability, ""))
    if answer.share is not None:
        experts = [str(number) for number in range(answer.share.shape[1])]
        share = _by_segment(edges, answer.share, experts, "expert %{y}: %{z:.0%}")
        parts.append(("share of each expert", 24 + heights * len(experts), share, "expert"))
    total = sum(height for _, height, _, _ in parts)
    figure = make_subplots(
        len(parts),
        1,
        shared_xaxes=True,
        row_heights=[height / total for _, height, _, _ in parts],
        vertical_spacing=30 / (total + 30 * len(parts)),
        subplot_titles=[title for title, *_ in parts],
    )
    for row, (_, _, trace, axis) in enumerate(parts, start=1):
        figure.add_trace(trace, row, 1)
        figure.update_yaxes(title_text=axis, row=row, col=1)
    figure.update_yaxes(showticklabels=False, row=1, col=1)
    figure.update_xaxes(title_text="seconds", row=len(parts), col=1)
    figure.update_xaxes(range=[0, max(len(waveform) / rate, edges[-1])])
    for name in ("probability of each class", "share of each expert"):
        rows = [row for row, (title, *_) in enumerate(parts, start=1) if title == name]
        for row in rows:
            figure.update_yaxes(type="category", autorange="reversed", row=row, col=1)
    figure.update_layout(showlegend=False)
    return plain(figure, height=int(total + 30 * len(parts) + 80))


def _waveform(waveform: Floats, rate: int) -> go.Scatter:
    edges = np.unique(np.linspace(0, len(waveform), BUCKETS + 1).astype(int))
    starts = edges[:-1]
    low = np.minimum.reduceat(waveform, starts)
    high = np.maximum.reduceat(waveform, starts)
    time = np.repeat(starts / rate, 2).round(4)
    return go.Scatter(
        x=time.tolist(),
        y=np.stack([low, high], axis=1).reshape(-1).tolist(),
        mode="lines",
        line={"color": SECOND, "width": 1},
        hoverinfo="skip",
    )


def _features(image: Floats, start: Floats, segment: float) -> go.Heatmap:
    """The images of all segments, side by side; of overlapping ones the beginnings."""
    columns, times = [], []
    step = segment / image.shape[1]
    ends = [*start[1:], start[-1] + segment]
    for one, first, end in zip(image, start, ends, strict=True):
        count = max(min(round((end - first) / step), image.shape[1]), 1)
        columns.append(one[:count])
        times.append(first + step * (np.arange(count) + 0.5))
    joined = np.concatenate(columns).T
    low, high = np.quantile(joined, [0.02, 0.995])
    # Whole numbers of one byte: the browser gets a quarter of what floats would be.
    levels = 255 * np.clip((joined - low) / max(high - low, 1e-9), 0, 1)
    return go.Heatmap(
        z=levels.astype(np.uint8),
        x=np.concatenate(times).round(4),
        colorscale="Magma",
        showscale=False,
        hoverinfo="skip",
    )


def _by_segment(edges: list[float], shares: Floats, names: list[str], hover: str) -> go.Heatmap:
    """Shares `[segments, names]` in colours, with a dot on the largest of each segment."""
    best = shares.argmax(axis=1)
    text = [["●" if best[s] == n else "" for s in range(len(best))] for n in range(len(names))]
    return go.Heatmap(
        z=shares.T.astype(np.float32),
        x=edges,
        y=names,
        text=text,
        texttemplate="%{text}",
        textfont={"color": GREY},
        colorscale="Blues",
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate=hover + "<extra></extra>",
    )
