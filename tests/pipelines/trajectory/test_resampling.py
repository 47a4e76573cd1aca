from __future__ import annotations

import numpy as np
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.resampling import resample
from moe_apps.pipelines.trajectory.tracks import Tracks, pieces


def _straight(rate: float, frames: np.ndarray, vehicle: int | np.ndarray = 1) -> Tracks:
    return Tracks.of(
        {"vehicle": vehicle, "frame": frames, "x": 1e5 + 20 * frames / rate, "y": 1.0}, rate
    )


@pytest.mark.parametrize(("old", "new"), [(25, 10), (30, 10), (30, 5), (10, 25), (2.5, 10)])
def test_even_motion_stays_exact(old: float, new: float) -> None:
    frames = np.r_[np.arange(7, 67), np.arange(80, 121)]
    found = resample(_straight(old, frames), new)
    np.testing.assert_allclose(found.table["x"], 1e5 + 20 * found.table["time"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.table["time"] * new, found.table["frame"])
    # The gap stays a gap, and no frame lies outside of what was seen.
    assert pieces(found.table).max() == 1
    time = found.table["time"].to_numpy()
    seen = [(7 / old, 66 / old), (80 / old, 120 / old)]
    assert all(any(a - 1e-9 <= t <= b + 1e-9 for a, b in seen) for t in time)
    assert found.notes == (f"brought from {old:g} to {new:g} Hz",)
    # All whole steps of the new rate are there.
    expected = sum(int(np.floor(b * new + 1e-6) - np.ceil(a * new - 1e-6)) + 1 for a, b in seen)
    assert len(found) == expected


def test_fast_noise_is_averaged_away_and_not_mirrored_into_slow_motion() -> None:
    frame = np.arange(300)
    shake = np.sin(2 * np.pi * frame * 10 / 30)  # 10 Hz, would turn into 0 Hz at 10 Hz
    tracks = Tracks.of({"vehicle": 1, "frame": frame, "x": 0.0, "y": shake}, 30)
    assert np.abs(resample(tracks, 10).table["y"][1:-1]).max() < 1e-9


def test_lane_and_size_are_of_the_nearest_frame() -> None:
    frame = np.arange(20)
    tracks = Tracks.of(
        {"vehicle": 1, "frame": frame, "x": 0.0, "lane": frame, "length": 4.5, "kind": "car"}, 30
    )
    found = resample(tracks, 10).table
    assert found["lane"].tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert (found["length"] == 4.5).all() and (found["kind"] == "car").all()


def test_pieces_too_short_are_counted() -> None:
    frames, vehicle = np.r_[np.arange(1, 30), 31], np.r_[np.full(29, 1), 2]
    found = resample(_straight(30, frames, vehicle), 10)
    assert found.table["vehicle"].unique().tolist() == [1]
    assert found.notes[-1] == "1 pieces of tracks dropped: too short for one frame at 10 Hz"
    with pytest.raises(DataError, match="no track is long enough"):
        resample(_straight(30, np.array([31])), 10)
    with pytest.raises(DataError, match="positive"):
        resample(_straight(30, frames), 0)


def test_the_same_rate_changes_nothing() -> None:
    tracks = _straight(10, np.arange(5))
    assert resample(tracks, 10) is tracks
