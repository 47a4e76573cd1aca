"""Built-in traffic: many roads at once, in NumPy, with exact lanes and measured positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from moe_apps.pipelines.trajectory.config import SimulatorSettings
from moe_apps.pipelines.trajectory.drivers import DRIVER_TYPES
from moe_apps.pipelines.trajectory.tracks import Tracks
from moe_apps.pipelines.trajectory.traffic import STEP, Traffic

Floats = npt.NDArray[np.floating]

WARM_UP = 30.0
"""Seconds that are simulated before the recording begins."""
OBSERVED = 0.8
"""Share of the ring that is observed; a vehicle that comes round again is another vehicle."""


def simulate(settings: SimulatorSettings | None = None, seed: int = 0) -> Tracks:
    """Simulate roads and record them at 10 Hz.

    Vehicles follow the Intelligent Driver Model (Treiber, Hennecke & Helbing 2000) and change
    lanes by MOBIL (Kesting, Treiber & Helbing 2007) on a ring of which a part is observed. From
    the decision on, a driver looks for a gap and drifts a little to that side; then the lane
    change follows a quintic over 3 to 6 s. Some changes are given up. Drivers slow down now and
    then, eased in and out. The column `lane` is exact; `x` and `y` carry measurement errors.

    Args:
        settings: what is simulated; None for the defaults.
        seed: of everything random; the same seed gives the same tracks.

    Returns:
        Tracks at 10 Hz; one recording a road, named `simulator/<number>`.

    Example:
        >>> tracks = simulate(SimulatorSettings(roads=1, vehicles=6, seconds=2), seed=1)
        >>> tracks.rate, sorted(tracks.table["recording"].unique())
        (10.0, ['simulator/00'])
    """
    settings = settings or SimulatorSettings()
    rng = np.random.default_rng(seed)
    traffic = Traffic(settings, rng)
    for _ in range(round(WARM_UP / STEP)):
        traffic.advance()
    steps = round(settings.seconds / STEP)
    shape = steps, settings.roads, settings.vehicles
    position, lateral = np.empty(shape), np.empty(shape)
    lane = np.empty(shape, np.int64)
    for step in range(steps):
        position[step], lateral[step], lane[step] = traffic.position, traffic.y, traffic.lane
        traffic.advance()
    return _recorded(settings, rng, traffic, position, lateral, lane)


def _recorded(
    settings: SimulatorSettings,
    rng: np.random.Generator,
    traffic: Traffic,
    position: Floats,
    lateral: Floats,
    lane: npt.NDArray[np.int64],
) -> Tracks:
    """What was observed, as a table; arrays `[steps, roads, vehicles]`, positions not wrapped."""
    steps, roads, vehicles = position.shape
    length = traffic.length[None]  # (1, roads, 1)
    lap = np.floor(position / length)
    along = position - lap * length
    lap = (lap - lap.min()).astype(np.int64)
    # In the order of the table, so that nothing is left to sort.
    order = (1, 2, 0)
    seen = (along < OBSERVED * length).transpose(order).reshape(-1)
    road = np.broadcast_to(np.arange(roads)[:, None, None], (roads, vehicles, steps)).reshape(-1)
    vehicle = lap + (lap.max() + 1) * np.arange(vehicles)
    frame = np.broadcast_to(np.arange(steps), (roads, vehicles, steps)).reshape(-1)
    names = np.array([f"simulator/{number:02d}" for number in range(roads)], dtype=object)
    kinds = np.array([one.kind for one in DRIVER_TYPES.values()], dtype=object)

    def rows(values: Any) -> Any:
        return np.broadcast_to(values, (steps, roads, vehicles)).transpose(order).reshape(-1)[seen]

    table = {
        "recording": names[road[seen]],
        "vehicle": rows(vehicle),
        "frame": frame[seen],
        "x": rows(along + _errors(settings, rng, position.shape)),
        "y": rows(lateral + _errors(settings, rng, position.shape)),
        "lane": rows(lane),
        "length": rows(traffic.driver["length"]),
        "width": rows(traffic.driver["width"]),
        "kind": rows(kinds[traffic.driver["type"]]),
    }
    return Tracks.of(
        table,
        rate=round(1 / STEP),
        source="built-in traffic simulator",
        lane_width=settings.lane_width,
    )


DRIFT_TIME = 4.0
"""Seconds over which the drift forgets where it was."""


def _errors(
    settings: SimulatorSettings, rng: np.random.Generator, shape: tuple[int, ...]
) -> Floats:
    """Errors of measurement, `[steps, roads, vehicles]`: white noise and a slow drift."""
    white = settings.noise * rng.standard_normal(shape)
    keep = np.exp(-STEP / DRIFT_TIME)
    push = np.sqrt(1 - keep**2) * rng.standard_normal(shape)
    push[0] = rng.standard_normal(shape[1:])
    return white + settings.drift * lfilter([1.0], [1.0, -keep], push, axis=0)
