"""Kinds of drivers of the built-in traffic simulator."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class DriverType:
    """Parameters that drivers of a type have on average, in metres and seconds.

    Attributes:
        share: Share of all vehicles.
        kind: Kind of vehicle.
        length: Length of the vehicle.
        width: Width of the vehicle.
        desired_speed: Speed on a free road (IDM `v0`).
        time_gap: Gap to the vehicle ahead in seconds (IDM `T`).
        acceleration: Largest acceleration (IDM `a`).
        braking: Comfortable braking (IDM `b`).
        politeness: Weight of what others lose or gain by a lane change (MOBIL `p`).
        threshold: Gain of acceleration below which the lane is kept (MOBIL).
        change_time: Length of a lane change.
    """

    share: float
    kind: str
    length: float
    width: float
    desired_speed: float
    time_gap: float
    acceleration: float
    braking: float
    politeness: float
    threshold: float
    change_time: float


DRIVER_TYPES = {
    "calm": DriverType(0.25, "car", 4.7, 1.8, 26.0, 1.7, 1.1, 1.5, 0.4, 0.20, 5.2),
    "normal": DriverType(0.45, "car", 4.7, 1.8, 30.0, 1.3, 1.4, 1.9, 0.2, 0.12, 4.4),
    "brisk": DriverType(0.18, "car", 4.8, 1.9, 35.0, 1.0, 1.8, 2.4, 0.05, 0.08, 3.6),
    "truck": DriverType(0.12, "truck", 13.0, 2.5, 23.0, 1.9, 0.7, 1.4, 0.3, 0.30, 5.6),
}
"""Of the order of Treiber & Kesting 2013, "Traffic Flow Dynamics"; their spread is ours."""

VARIED = (
    "length", "desired_speed", "time_gap", "acceleration", "braking", "threshold", "change_time"
)  # fmt: skip
SPREAD = 0.1
CHANGE_TIMES = 3.0, 6.0


def draw_drivers(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> dict[str, npt.NDArray[np.floating]]:
    """Draw drivers: parameter name to array of `shape`; `type` numbers `DRIVER_TYPES`.

    Each parameter of `VARIED` differs from the type's by 10 % (standard deviation, at most twice
    that); a lane change takes 3 to 6 s.

    Example:
        >>> drivers = draw_drivers(np.random.default_rng(0), (2, 50))
        >>> drivers["length"].shape, bool((drivers["change_time"] >= 3).all())
        ((2, 50), True)
    """
    types = list(DRIVER_TYPES.values())
    number = rng.choice(len(types), size=shape, p=[one.share for one in types])
    drawn: dict[str, npt.NDArray[Any]] = {"type": number}
    for name in (f.name for f in fields(DriverType)):
        if name in ("share", "kind"):
            continue
        values = np.array([getattr(one, name) for one in types])[number]
        if name in VARIED:
            values = values * (1 + SPREAD * np.clip(rng.normal(size=shape), -2, 2))
        drawn[name] = values
    drawn["change_time"] = np.clip(drawn["change_time"], *CHANGE_TIMES)
    return drawn
