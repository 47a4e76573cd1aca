"""Judges predicted effects of a treatment on data in which it was given at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.recommendation.metrics import Figures

FloatArray = npt.NDArray[np.floating]


def gain_curve(
    outcome: FloatArray, treated: npt.NDArray[np.bool_], uplift: FloatArray
) -> pd.DataFrame:
    """Gain by share of people treated, those with the highest predicted uplift first.

    `gain` at a share is G / N_t, where G = Y_t - Y_c N_t(i) / N_c(i) over the first i people
    (Radcliffe 2007, "Using Control Groups to Target on Predicted Lift"): outcomes of the treated
    less those expected without treatment; divided by the number of all treated, it is a mean
    outcome per treated person. Rows of one predicted uplift enter together.

    Args:
        outcome: `[rows]`; NaN is left out.
        treated: Whether a row got the treatment; others are controls.
        uplift: Predicted effect.

    Returns:
        Columns `share` (from 0 to 1) and `gain` (from 0).

    Example:
        >>> treated = np.array([True, False, True, False])
        >>> gain_curve(np.array([1.0, 0, 0, 0]), treated, np.array([2.0, 2, 1, 1]))
           share  gain
        0    0.0   0.0
        1    0.5   0.5
        2    1.0   0.5
    """
    there = ~np.isnan(outcome)
    frame = pd.DataFrame(
        {
            "uplift": uplift[there],
            "treated": treated[there].astype(float),
            "control": (~treated[there]).astype(float),
            "won": outcome[there] * treated[there],
            "unasked": outcome[there] * ~treated[there],
            "rows": 1.0,
        }
    )
    sums = frame.groupby("uplift").sum().sort_index(ascending=False).cumsum()
    controls = sums["control"].to_numpy()
    unasked = sums["unasked"].to_numpy() / np.where(controls > 0, controls, 1)
    gain = (sums["won"] - unasked * sums["treated"]) / max(frame["treated"].sum(), 1)
    share = sums["rows"] / max(len(frame), 1)
    return pd.DataFrame({"share": np.r_[0, share], "gain": np.r_[0, gain]})


def uplift_figures(
    outcome: FloatArray, treated: npt.NDArray[np.bool_], uplift: FloatArray
) -> Figures:
    """Qini coefficient, AUUC and the mean effect.

    `auuc` is the area under `gain_curve`; `qini` that between it and its chord, which is what
    treating people at random gains. Both are per treated person (packages differ in what they
    divide by). `effect` is mean outcome of treated less that of controls.

    Returns:
        qini, auuc, effect, treated and controls (how many); None where one arm is empty.

    Example:
        >>> treated = np.array([True, False, True, False])
        >>> uplift_figures(np.array([1.0, 0, 0, 0]), treated, np.array([2.0, 2, 1, 1]))["qini"]
        0.125
    """
    there = ~np.isnan(outcome)
    counts: Figures = {
        "treated": int(treated[there].sum()),
        "controls": int((~treated[there]).sum()),
    }
    if not (counts["treated"] and counts["controls"]):
        return {"qini": None, "auuc": None, "effect": None, **counts}
    curve = gain_curve(outcome, treated, uplift)
    area = float(np.trapezoid(curve["gain"], curve["share"]))
    effect = outcome[there & treated].mean() - outcome[there & ~treated].mean()
    return {
        "qini": area - float(curve["gain"].iloc[-1]) / 2,
        "auuc": area,
        "effect": float(effect),
        **counts,
    }
