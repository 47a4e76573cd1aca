from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.splits import check_no_leak, split
from moe_apps.pipelines.trajectory.tracks import Tracks


def roads(recordings: int, vehicles: int) -> Tracks:
    table = pd.DataFrame(
        [(f"r{r:02d}", v, f, 1.0 * f) for r in range(recordings) for v in range(vehicles)
         for f in range(3)],
        columns=["recording", "vehicle", "frame", "x"],
    )  # fmt: skip
    return Tracks.of(table, rate=5, source="roads")


def test_many_recordings_are_split_whole():
    tracks = roads(20, 3)
    part, unit = split(tracks, "auto", 0.7, 0.2, seed=0)
    assert unit == "recording"
    by_recording = pd.Series(part).groupby(tracks.table["recording"]).agg(["min", "max"])
    assert (by_recording["min"] == by_recording["max"]).all()
    assert by_recording["min"].value_counts().to_dict() == {0: 14, 1: 2, 2: 4}


def test_few_recordings_give_vehicles_to_every_part():
    tracks = roads(2, 10)
    part, unit = split(tracks, "auto", 0.7, 0.2, seed=0)
    assert unit == "vehicle"
    counts = tracks.table.assign(part=part).groupby(["recording", "part"])["vehicle"].nunique()
    assert counts.tolist() == [7, 1, 2] * 2


@given(st.integers(3, 40), st.floats(0.2, 0.7), st.floats(0.1, 0.25), st.integers(0, 99))
@settings(max_examples=25)
def test_no_part_is_empty_and_no_vehicle_in_two(vehicles, train, test, seed):
    tracks = roads(1, vehicles)
    part, _ = split(tracks, "vehicle", train, test, seed)
    assert set(part) == {0, 1, 2}
    check_no_leak(tracks, part)


def test_the_seed_decides():
    tracks = roads(12, 2)
    one, again, other = (split(tracks, "auto", 0.7, 0.2, seed)[0] for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).any()


def test_a_leak_is_named():
    tracks = roads(1, 4)
    part = np.zeros(12, int)
    part[7] = 2
    with pytest.raises(
        DataError, match=r"recording r00, vehicle 2 is in the train and in the test"
    ):
        check_no_leak(tracks, part)


def test_too_few_vehicles_are_refused():
    with pytest.raises(DataError, match=r"no vehicle is left for the .* part; there are 1 rec"):
        split(roads(1, 2), "vehicle", 0.7, 0.2, seed=0)
