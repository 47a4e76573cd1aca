"""Predictions that need no network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.config import DataSettings
from moe_apps.pipelines.trajectory.labels import INTENTIONS
from moe_apps.pipelines.trajectory.windows import Windows

Floats = npt.NDArray[np.floating]

ACCELERATION_SECONDS = 2.0
"""Seconds of history that the acceleration is fitted to."""


def constant_velocity(windows: Windows, settings: DataSettings) -> Answer:
    """On at the mean velocity of the last `velocity_seconds`.

    Example:
        >>> from moe_apps.pipelines.trajectory.tracks import Tracks
        >>> from moe_apps.pipelines.trajectory.windows import WindowCutter
        >>> one = {"vehicle": 1, "frame": range(41), "x": np.arange(41.0) * 2}
        >>> cutter = WindowCutter(Tracks.of(one, rate=5), DataSettings())
        >>> constant_velocity(cutter.cut(cutter.rows()), DataSettings()).forecast[0, -1].tolist()
        [50.0, 0.0]
    """
    return _answer(constant_velocity_way(windows, settings))


def constant_velocity_way(windows: Windows, settings: DataSettings) -> Floats:
    """Positions `[n, horizon, 2]` at constant velocity, from the last one on."""
    ego = windows.inputs["ego"].astype(np.float64)
    span = settings.velocity_span
    step = (ego[:, -1] - ego[:, -1 - span]) / span
    return ego[:, -1, None] + step[:, None] * _ahead(settings)


def constant_acceleration(windows: Windows, settings: DataSettings) -> Answer:
    """On along the parabola through the last point that fits the last 2 s (or the history) best."""
    ego = windows.inputs["ego"].astype(np.float64)
    steps = min(round(ACCELERATION_SECONDS * settings.rate), ego.shape[1] - 1)
    time = np.arange(-steps, 0)[:, None]
    powers = np.concatenate([time, time**2], axis=1)  # (steps, 2)
    past = ego[:, -1 - steps : -1] - ego[:, -1:]
    factors = np.einsum("pt,ntc->npc", np.linalg.pinv(powers), past)  # (n, 2, xy)
    ahead = _ahead(settings)
    forecast = ego[:, -1, None] + factors[:, None, 0] * ahead + factors[:, None, 1] * ahead**2
    return _answer(forecast)


def majority_class(windows: Windows, train: Windows) -> Answer:
    """The most frequent intention of the training part, whatever the window."""
    known = train.intention[train.intention >= 0]
    probability = np.zeros((len(windows), len(INTENTIONS)))
    probability[:, np.bincount(known, minlength=1).argmax()] = 1.0
    return Answer(probability=probability)


def baselines(settings: DataSettings, train: Windows) -> dict[str, Callable[[Windows], Answer]]:
    """The baselines by name, as functions of windows."""
    return {
        "constant_velocity": lambda windows: constant_velocity(windows, settings),
        "constant_acceleration": lambda windows: constant_acceleration(windows, settings),
        "majority_class": lambda windows: majority_class(windows, train),
    }


def _ahead(settings: DataSettings) -> Floats:
    return np.arange(1.0, settings.horizon_steps + 1)[None, :, None]


def _answer(forecast: Floats) -> Answer:
    return Answer(forecast=forecast, modes=forecast[:, None])
