"""Which expert answers for which kind of sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from moe_apps.pipelines.acoustic.answers import Answer
from moe_apps.pipelines.acoustic.extraction import Segments
from moe_apps.pipelines.acoustic.recordings import Recording
from moe_apps.pipelines.specialisation import specialisation

Floats = npt.NDArray[np.floating]

DEAD = 0.005
"""Share of segments below which an expert counts as unused."""
FACTORS = ("speed", "range", "snr", "modulation")


def routing_summary(
    answer: Answer,
    segments: Segments,
    recordings: Sequence[Recording],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Shares of the experts over segments, ready for JSON; empty where there are none.

    Returns:
        `load` (share of each expert), `load_entropy` (over the most there can be), `dead` (number
        of unused experts), `by_class`, `by_sub_type`, and `by_speed`, `by_range`, `by_snr`,
        `by_modulation` (thirds), as far as the recordings say: mean shares, and under
        `specialisation` how much the expert says of each factor (mutual information over the
        experts' entropy).
    """
    if answer.share is None:
        return {}
    share = answer.share.astype(np.float64)
    load = share.mean(axis=0)
    summary: dict[str, Any] = {
        "experts": share.shape[1],
        "segments": len(share),
        "load": load.tolist(),
        "load_entropy": float(entr(load).sum() / np.log(max(len(load), 2))),
        "dead": int((load < DEAD).sum()),
        "specialisation": {},
    }
    groups: dict[str, Mapping[str, npt.NDArray[np.bool_]]] = {
        "class": {name: segments.label == n for n, name in enumerate(classes)}
    }
    kinds = np.array([one.sub_type or "" for one in recordings])[segments.recording]
    if (kinds != "").any():
        groups["sub_type"] = {str(name): kinds == name for name in np.unique(kinds[kinds != ""])}
    for factor in FACTORS:
        values = np.array([one.facts.get(factor, np.nan) for one in recordings], np.float64)
        if np.isfinite(values).any():
            groups[factor] = thirds(values[segments.recording])
    for factor, rows_of in groups.items():
        means = {name: share[rows] for name, rows in rows_of.items() if rows.any()}
        summary[f"by_{factor}"] = {n: rows.mean(axis=0).tolist() for n, rows in means.items()}
        summary["specialisation"][factor] = specialisation(list(means.values()))
    return summary


def thirds(values: Floats) -> dict[str, npt.NDArray[np.bool_]]:
    """Rows of the lowest, middle and highest values, by their range; fewer where values repeat.

    >>> list(thirds(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])))
    ['1 to 2.67', '2.67 to 4.33', '4.33 to 6']
    """
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, [0, 1 / 3, 2 / 3, 1]))
    if len(edges) < 2:
        return {_short(edges[0]): np.isfinite(values)}
    return {
        f"{_short(low)} to {_short(high)}": (values >= low)
        & ((values < high) | ((values == high) & (high == edges[-1])))
        for low, high in pairwise(edges)
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
