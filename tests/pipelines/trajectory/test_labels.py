"""Labels on tracks made by hand, where one can count."""

from __future__ import annotations

import numpy as np

from moe_apps.pipelines.trajectory.labels import (
    KEEP,
    LEFT,
    RIGHT,
    UNKNOWN,
    after_crossing,
    braking,
    count_changes,
    crossings,
    intentions,
    recognised,
    time_to_crossing,
)
from moe_apps.pipelines.trajectory.tracks import Tracks

RATE = 10


def _lanes(*stays: tuple[int, int], vehicle: int = 1, start: int = 0) -> Tracks:
    """Tracks of one vehicle that is in a lane for a number of frames, and so on."""
    lane = np.concatenate([np.full(count, lane) for lane, count in stays])
    frame = np.arange(start, start + len(lane))
    return Tracks.of({"vehicle": vehicle, "frame": frame, "x": frame * 2.5, "lane": lane}, RATE)


def _runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Labels as (value, how many in a row)."""
    ends = [*np.flatnonzero(np.diff(labels)).tolist(), len(labels) - 1]
    starts = [0, *(end + 1 for end in ends)]
    return [(int(labels[end]), end + 1 - start) for start, end in zip(starts, ends, strict=False)]


def test_intention_begins_a_window_before_the_crossing() -> None:
    tracks = _lanes((0, 60), (1, 60))
    # Of rows 0 to 59 before the crossing at row 60, those from 30 on are within 3 s of it; the
    # last 30 rows of the track do not see 3 s ahead.
    assert _runs(intentions(tracks, window=3.0)) == [(KEEP, 30), (LEFT, 30), (KEEP, 30), (-1, 30)]
    right = _lanes((4, 60), (3, 60))
    assert _runs(intentions(right, window=3.0))[1] == (RIGHT, 30)


def test_the_first_of_two_crossings_decides() -> None:
    tracks = _lanes((1, 50), (2, 15), (1, 60))
    assert _runs(intentions(tracks, window=2.0)) == [
        (KEEP, 30),
        (LEFT, 20),
        (RIGHT, 15),
        (KEEP, 40),
        (UNKNOWN, 20),
    ]


def test_a_lane_left_for_a_second_is_not_changed() -> None:
    aborted = _lanes((1, 50), (2, 10), (1, 60))
    assert not crossings(aborted).any()
    assert set(intentions(aborted, window=2.0)) == {KEEP, UNKNOWN}
    longer = _lanes((1, 50), (2, 11), (1, 60))
    assert np.flatnonzero(crossings(longer)).tolist() == [50, 61]
    # Lane numbers that flicker while a wheel is on the line: one crossing, where it stays over.
    flicker = _lanes((1, 50), (2, 3), (1, 4), (2, 60))
    assert np.flatnonzero(crossings(flicker)).tolist() == [57]
    assert count_changes(flicker).to_dict() == {"left": 1, "right": 0}


def test_nothing_is_said_across_gaps_vehicles_and_unknown_lanes() -> None:
    first, second = _lanes((0, 20)), _lanes((1, 20), start=21)
    gap = Tracks.of(
        {
            name: np.concatenate([first.table[name], second.table[name]])
            for name in ("vehicle", "frame", "x", "lane")
        },
        RATE,
    )
    assert not crossings(gap).any() and np.isinf(time_to_crossing(gap)[0]).all()
    assert _runs(intentions(gap, window=1.0)) == [(KEEP, 10), (-1, 10), (KEEP, 10), (-1, 10)]
    unknown = _lanes((0, 20), (-1, 5), (1, 20))
    assert not crossings(unknown).any()
    assert _runs(intentions(unknown, window=1.0)) == [(KEEP, 10), (-1, 15), (KEEP, 10), (-1, 10)]


def test_time_to_crossing_counts_down_to_one_frame() -> None:
    time, side = time_to_crossing(_lanes((0, 5), (1, 5)))
    np.testing.assert_allclose(time[:5], [0.5, 0.4, 0.3, 0.2, 0.1])
    assert np.isinf(time[5:]).all() and side.tolist() == [1] * 5 + [0] * 5


def test_recognition_covers_four_seconds_on_both_sides() -> None:
    tracks = _lanes((1, 100), (2, 100))
    # Row 60 sees row 100 forty frames on; row 139 sees row 99 forty frames back.
    assert _runs(recognised(tracks)) == [(KEEP, 60), (LEFT, 80), (KEEP, 60)]
    assert _runs(recognised(_lanes((2, 100), (1, 100))))[1] == (RIGHT, 80)
    # Near the ends of a track its first and last lanes stand for what is beyond.
    assert _runs(recognised(_lanes((1, 10), (2, 10)))) == [(LEFT, 20)]
    # Over to the left and back within four seconds: to the right wins.
    assert recognised(_lanes((1, 100), (2, 20), (1, 100)))[110] == RIGHT


def test_braking_compares_five_seconds_ahead_with_three_behind() -> None:
    speed = np.r_[np.full(100, 20.0), np.full(100, 10.0)]
    x = np.r_[0, np.cumsum(speed[1:] / RATE)]
    tracks = Tracks.of({"vehicle": 1, "frame": range(200), "x": x}, RATE)
    found = np.flatnonzero(braking(tracks))
    # Ahead of the slowing at row 100, the mean falls below 16 m/s once over 40 % is slow: 20 of 50.
    assert found[0] == 70 and 99 in found and found[-1] < 130


def test_the_end_phase_lasts_until_the_sideways_move_rests() -> None:
    frame = np.arange(100)
    y = 3.5 * np.clip((frame - 20) / 40, 0, 1)  # 0.875 m/s from frame 20 to 60
    tracks = Tracks.of(
        {"vehicle": 1, "frame": frame, "x": frame * 2.0, "y": y, "lane": (frame >= 40).astype(int)},
        RATE,
    )
    ending = np.flatnonzero(after_crossing(tracks))
    assert ending.tolist() == list(range(40, 65))
    # One that goes on drifting is let go after five seconds.
    drift = Tracks.of(tracks.table.assign(y=frame * 0.05), RATE)
    assert np.flatnonzero(after_crossing(drift)).tolist() == list(range(40, 91))
