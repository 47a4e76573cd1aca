"""What is shown of a forecast: figures and words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from moe_apps.demos.charts import GREY, expert_shares, experts_over_time, plain
from moe_apps.demos.reading import expert_reading
from moe_apps.pipelines.charts import MODEL, SECOND, THIRD
from moe_apps.pipelines.run_folder import RunFolder

BAND = "rgba(209, 73, 91, 0.18)"
"""The colour of the model, see-through."""


def forecast_chart(past: pd.Series, table: pd.DataFrame, naive: Any, level: float) -> go.Figure:
    """History, forecast with its interval, and the naive forecast.

    Args:
        past: History, indexed by time or row number.
        table: Of one series, as `forecasting.prediction.forecast_table` makes it.
        naive: Another forecast of the same steps.
        level: Of the interval, in percent; without its columns there is no band.

    Example:
        >>> past = pd.Series([1.0, 2.0], index=[0, 1])
        >>> table = pd.DataFrame({"time": [2], "forecast": [3.0], "lower_80": 2.0, "upper_80": 4.0})
        >>> [one.name for one in forecast_chart(past, table, [2.0], 80).data]
        ['80 of 100 fall in here', 'history', 'seasonal naive', 'forecast']
    """
    figure = go.Figure()
    low, high = f"lower_{level:g}", f"upper_{level:g}"
    if low in table and np.isfinite(table[low].to_numpy()).all():
        time = table["time"].to_list()
        figure.add_trace(
            go.Scatter(
                x=[*time, *reversed(time)],
                y=[*table[high], *reversed(table[low].to_list())],
                fill="toself",
                fillcolor=BAND,
                line={"width": 0},
                name=f"{level:g} of 100 fall in here",
                hoverinfo="skip",
            )
        )
    figure.add_trace(_line(past.index, past.to_numpy(), "history", THIRD, "solid"))
    # Joined to the last value, so that no gap is seen.
    joined = [past.index[-1], *table["time"]]
    last = past.iloc[-1]
    figure.add_trace(_line(joined, [last, *naive], "seasonal naive", SECOND, "dot"))
    figure.add_trace(_line(joined, [last, *table["forecast"]], "forecast", MODEL, "solid"))
    figure.add_vline(x=past.index[-1], line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_layout(hovermode="x unified")
    return plain(figure, height=420)


def _line(time: Any, values: Any, name: str, color: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=list(time),
        y=list(values),
        name=name,
        mode="lines",
        line={"color": color, "width": 2, "dash": dash},
        hovertemplate="%{y:.4g}",
    )


def how_sure(
    name: str, rows: int, steps: int, level: float, errors: list[Any], table: pd.DataFrame
) -> str:
    lines = [f"**The next {steps} steps of {name}**, from its last {rows} rows."]
    if not errors[0].size or not np.isfinite(errors[0]).any():
        return f"{lines[0]} The table is too short to say how sure that is."
    low, high = f"lower_{level:g}", f"upper_{level:g}"
    if np.isfinite(table[low].to_numpy()).all():
        half = ((table[high] - table[low]) / 2).mean()
        lines.append(
            f"How sure: {level:g} of 100 values should fall within {half:.3g} of the forecast on "
            f"average, by the errors on the last {len(errors[0])} windows of this table."
        )
    ours, naive = (float(np.nanmean(one)) for one in errors)
    if naive > 0:
        better = 1 - ours / naive
        word = "smaller" if better >= 0 else "larger"
        lines.append(
            f"On these windows it was off by {ours:.3g} on average, the seasonal naive by "
            f"{naive:.3g}: the model's error is {abs(better):.0%} {word}."
        )
    return "  \n".join(lines)


def experts_chart(time: pd.Index, weights: Any) -> Any:
    layers = [f"layer {number}" for number in range(weights.shape[1])]
    if len(weights) == 1:  # routed as a whole
        return expert_shares(weights[0], layers, [str(one) for one in range(weights.shape[-1])])
    return experts_over_time(time[-len(weights) :], weights[-len(time) :], layers)


def reading(run: RunFolder, weights: Any) -> str:
    """What the experts of the last layer did, and what of the time or series they go by."""
    routing = run.read_metrics()["routing"] if run.metrics_file.is_file() else {}
    last = weights[:, -1].mean(axis=0)
    last = last / max(last.sum(), 1e-9)
    factors = {name: one[-1] for name, one in routing.get("specialisation", {}).items()}
    factor = max(factors, key=lambda name: factors[name], default="")
    groups = {name: one[-1] for name, one in routing.get(f"by_{factor}", {}).items()}
    layer = f"Experts of layer {weights.shape[1] - 1} over the history shown:\n\n"
    return layer + expert_reading(last, groups, factor)
