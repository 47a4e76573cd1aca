from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.trajectory.neighbours import SLOTS, neighbours
from moe_apps.pipelines.trajectory.tracks import Tracks


def _traffic(seed: int, lanes_known: bool) -> Tracks:
    random = np.random.default_rng(seed)
    vehicle = np.repeat(np.arange(40), 6)
    lane = random.integers(0, 4, 40)[vehicle]
    return Tracks.of(
        {
            "recording": np.where(vehicle % 2, "a", "b"),
            "vehicle": vehicle,
            "frame": np.tile(np.arange(6), 40) + vehicle % 3,
            "x": random.uniform(0, 200, 240).round(3),
            "y": lane * 3.5 + random.normal(0, 0.2, 240),
            "lane": lane if lanes_known else -1,
        },
        rate=10,
        lane_width=3.5,
    )


def _one_by_one(tracks: Tracks, reach: float) -> np.ndarray:
    """The same by looking at every pair."""
    found = np.full((len(tracks), 6), -1)
    rows = list(tracks.table.itertuples())
    for me in rows:
        best: dict[int, float] = {}
        for other in rows:
            if (me.recording, me.frame) != (other.recording, other.frame) or other is me:
                continue
            by_offset = round((other.y - me.y) / 3.5)
            aside = other.lane - me.lane if me.lane >= 0 else by_offset
            ahead = other.x - me.x
            if aside not in (0, 1, -1) or abs(ahead) > reach:
                continue
            slot = {0: 0, 1: 2, -1: 4}[aside] + (ahead < 0)
            if abs(ahead) < best.get(slot, np.inf):
                best[slot] = abs(ahead)
                found[me.Index, slot] = other.Index
    return found


@pytest.mark.parametrize("lanes_known", [True, False])
@pytest.mark.parametrize("reach", [100.0, 30.0])
def test_agrees_with_looking_at_every_pair(lanes_known: bool, reach: float) -> None:
    tracks = _traffic(0, lanes_known)
    found = neighbours(tracks, reach)
    np.testing.assert_array_equal(found, _one_by_one(tracks, reach))
    assert (found >= 0).any(axis=0).all()  # every slot is met


def test_slots_are_named_from_the_drivers_view() -> None:
    around = {
        "vehicle": range(7),
        "frame": 0,
        "x": [0.0, 10.0, -10.0, 10.0, -10.0, 10.0, -10.0],
        "lane": [1, 1, 1, 2, 2, 0, 0],
        "y": [0.0, 0.0, 0.0, 3.5, 3.5, -3.5, -3.5],
    }
    expected = dict(zip(SLOTS, range(1, 7), strict=True))
    for lane in (around["lane"], -1):
        found = neighbours(Tracks.of({**around, "lane": lane}, rate=10))[0]
        assert dict(zip(SLOTS, found.tolist(), strict=True)) == expected


def test_a_frame_with_one_unknown_lane_goes_by_offset() -> None:
    tracks = Tracks.of(
        {
            "vehicle": [1, 2, 1, 2],
            "frame": [0, 0, 1, 1],
            "x": [0.0, 9.0, 2.0, 11.0],
            "y": [0.0, 3.0, 0.0, 3.0],
            "lane": [0, -1, 0, 1],
        },
        rate=10,
    )
    found = neighbours(tracks)
    for row in (0, 1):
        assert found[row, 2] == row + 2 and found[row + 2, 5] == row


def test_more_pairs_than_are_looked_at_in_one_go() -> None:
    random = np.random.default_rng(0)
    frames, per_frame = 2000, 60
    tracks = Tracks.of(
        {
            "vehicle": np.tile(np.arange(per_frame), frames),
            "frame": np.repeat(np.arange(frames), per_frame),
            "x": random.uniform(0, 500, frames * per_frame),
            "y": random.uniform(0, 20, frames * per_frame),
        },
        rate=10,
    )
    found = neighbours(tracks, reach=50.0)
    some = random.integers(0, len(tracks), 200)
    x, y, frame = (tracks.table[name].to_numpy() for name in ("x", "y", "frame"))
    for row in some:
        same = (frame == frame[row]) & (np.abs(y - y[row]) < 1.75) & (x > x[row])
        same &= x - x[row] <= 50
        expected = np.flatnonzero(same)
        nearest = expected[np.argmin(x[expected])] if len(expected) else -1
        assert found[row, 0] == nearest
