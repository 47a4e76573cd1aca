"""Splits tracks by recording or by vehicle, never by window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.tracks import Tracks, vehicles

PARTS = ("train", "validation", "test")
ENOUGH_RECORDINGS = 10

Ints = npt.NDArray[np.int64]


def split(
    tracks: Tracks, unit: str, train_fraction: float, test_fraction: float, seed: int
) -> tuple[Ints, str]:
    """Assign each row to a part: 0 training, 1 validation, 2 test.

    Units are shuffled by the seed. Split by vehicle, every recording gives its share to each part;
    the vehicles of one part then still meet those of another on the road.

    Args:
        tracks: `n` rows.
        unit: "recording", "vehicle" or "auto": recordings where there are at least 10.
        train_fraction: share of units for training.
        test_fraction: share for test; the rest is for validation.
        seed: of the shuffle.

    Returns:
        Part `[n]`, and the unit that was used.

    Raises:
        DataError: A part would be empty.

    Example:
        >>> tracks = Tracks.of({"vehicle": range(10), "frame": 0, "x": 0.0}, rate=5)
        >>> part, unit = split(tracks, "auto", 0.7, 0.2, seed=0)
        >>> np.bincount(part).tolist(), unit
        ([7, 1, 2], 'vehicle')
    """
    recording = pd.factorize(tracks.table["recording"])[0]
    if unit == "auto":
        unit = "recording" if recording.max() + 1 >= ENOUGH_RECORDINGS else "vehicle"
    rng = np.random.default_rng(seed)
    if unit == "recording":
        part = _shares(recording.max() + 1, train_fraction, test_fraction, rng)[recording]
    else:
        number = vehicles(tracks.table)
        of_vehicle = np.zeros(number.max() + 1, np.int64)
        recording_of = recording[np.flatnonzero(np.diff(number, prepend=-1))]
        for one in range(recording.max() + 1):
            members = np.flatnonzero(recording_of == one)
            of_vehicle[members] = _shares(len(members), train_fraction, test_fraction, rng)
        part = of_vehicle[number]
    for index, name in enumerate(PARTS):
        if not (part == index).any():
            raise DataError(
                f"{tracks.source}: no {unit} is left for the {name} part; there are "
                f"{len(np.unique(recording))} recordings with {vehicles(tracks.table).max() + 1} "
                "vehicles: set data.split or the fractions"
            )
    check_no_leak(tracks, part)
    return part, unit


def _shares(
    count: int, train_fraction: float, test_fraction: float, rng: np.random.Generator
) -> Ints:
    """Part `[count]` of units in random order; few go to test before they go to validation."""
    test = round(test_fraction * count)
    train = min(max(round(train_fraction * count), 1), count - test)
    if count >= 3:
        test = max(test, 1)
        train = min(train, count - test - 1)
    part = np.ones(count, np.int64)
    order = rng.permutation(count)
    part[order[:train]] = 0
    part[order[train : train + test]] = 2
    return part


def check_no_leak(tracks: Tracks, part: Ints) -> None:
    """Raise `DataError` when a vehicle has rows in two parts; the message names vehicles.

    >>> tracks = Tracks.of({"vehicle": [4, 4], "frame": [0, 1], "x": 0.0}, rate=5)
    >>> check_no_leak(tracks, np.array([0, 2]))
    Traceback (most recent call last):
        ...
    moe_apps.errors.DataError: tracks: vehicle 4 is in the train and in the test part
    """
    number = vehicles(tracks.table)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    wrong = np.flatnonzero(part != part[first][number])
    if len(wrong):
        row = tracks.table.iloc[wrong[0]]
        place = f"recording {row.recording}, " if row.recording else ""
        one, other = PARTS[part[first[number[wrong[0]]]]], PARTS[part[wrong[0]]]
        raise DataError(
            f"{tracks.source or 'tracks'}: {place}vehicle {row.vehicle} is in the {one} and in "
            f"the {other} part"
        )
