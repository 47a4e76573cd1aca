"""Units, and the doubts that speeds and lengths raise about them."""

from __future__ import annotations

import numpy as np
import pandas as pd

FOOT = 0.3048
"""Metres."""
MILE_PER_HOUR = 0.44704
"""Metres a second."""

FAST = 60.0
"""Metres a second (216 km/h) that hardly a vehicle in these data drives."""
CAR_LENGTHS = (2.5, 9.0)
"""Metres between which the median length of vehicles lies."""
FACTORS = {
    1 / FOOT: "feet taken for metres",
    FOOT: "metres taken for feet",
    3.6: "km/h taken for m/s",
    1 / MILE_PER_HOUR: "mph taken for m/s",
    MILE_PER_HOUR: "m/s taken for mph",
    1 / 3.6: "m/s taken for km/h",
}


def unit_notes(rows: pd.DataFrame, rate: float) -> list[str]:
    """Return warnings where speeds or lengths suggest that units are wrong or mixed.

    Args:
        rows: sorted by recording, vehicle and frame, with `x` and `y`, and optionally `length`
            and `speed` as the file has it.
        rate: frames a second.

    Example:
        >>> rows = {"recording": "r", "vehicle": 1, "frame": range(4), "x": range(0, 40, 10)}
        >>> unit_notes(pd.DataFrame(rows).assign(y=0.0), rate=10)[0][:60]
        'warning: 1 of 1 vehicles move at more than 60 m/s (fastest 1'
    """
    speed = _speeds(rows, rate)
    vehicle = [rows["recording"], rows["vehicle"]]
    typical = speed.groupby(vehicle).median()
    notes = []
    fast = typical > FAST
    if fast.any():
        notes.append(
            f"warning: {int(fast.sum())} of {len(typical)} vehicles move at more than {FAST:g} m/s "
            f"(fastest {typical.max():.0f}): implausible, are the positions in metres, or some in "
            "feet?"
        )
    if "speed" in rows:
        notes += _against_recorded(speed, rows["speed"], vehicle)
    if "length" in rows:
        kind = rows["kind"] if "kind" in rows else pd.Series("unknown", index=rows.index)
        lengths = (
            rows["length"]
            .groupby(vehicle)
            .first()[kind.groupby(vehicle).first().isin(["car", "unknown"])]
        )
        middle = lengths.median()
        if np.isfinite(middle) and not CAR_LENGTHS[0] <= middle <= CAR_LENGTHS[1]:
            notes.append(
                f"warning: vehicles are {middle:.1f} m long in the median: implausible, are "
                "lengths in the unit that this format has?"
            )
    return notes


def _speeds(rows: pd.DataFrame, rate: float) -> pd.Series:
    """Speed `[rows]` in m/s from the row before, NaN where that is no frame before."""
    step = (rows["x"].diff() ** 2 + rows["y"].diff() ** 2) ** 0.5
    same = (rows["vehicle"].diff() == 0) & (rows["frame"].diff() == 1)
    same &= rows["recording"] == rows["recording"].shift()
    return (step * rate).where(same)


def _against_recorded(speed: pd.Series, recorded: pd.Series, vehicle: list[pd.Series]) -> list[str]:
    moving = (speed > 2) & (recorded.abs() > 2)
    ratio = (speed / recorded.abs()).where(moving).groupby(vehicle).median().dropna()
    if ratio.empty:
        return []
    likeness = {factor: np.abs(np.log(ratio / factor)) < 0.08 for factor in FACTORS}
    factor = max(likeness, key=lambda known: int(likeness[known].sum()))
    count = int(likeness[factor].sum())
    if count <= 0.02 * len(ratio):
        return []
    return [
        f"warning: {count} of {len(ratio)} vehicles move {factor:.2f} times as fast as their speed "
        f"column says ({FACTORS[factor]}?): units are mixed"
    ]
