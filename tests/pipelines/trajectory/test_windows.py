from __future__ import annotations

import numpy as np
import pytest

from moe_apps.models.trajectory.features import UNKNOWN_OFFSET
from moe_apps.pipelines.trajectory.neighbours import SLOTS
from moe_apps.pipelines.trajectory.tracks import Tracks
from moe_apps.pipelines.trajectory.windows import WindowCutter


@pytest.fixture
def cutter(two_lanes, short) -> WindowCutter:
    return WindowCutter(two_lanes, short)


def test_windows_lie_in_one_piece_with_history_and_future(two_lanes, short):
    gap = (two_lanes.table["vehicle"] == 2) & (two_lanes.table["frame"] == 50)
    cutter = WindowCutter(two_lanes.only(~gap.to_numpy()), short)
    rows = cutter.rows()
    table = cutter.tracks.table
    found = {v: table["frame"][rows[table["vehicle"][rows] == v]].tolist() for v in (1, 2, 3)}
    assert found[1] == list(range(5, 90)) == found[3]
    assert found[2] == [*range(5, 40), *range(56, 90)]


def test_history_future_and_label_by_hand(cutter):
    window = cutter.cut(np.array([45]))  # of vehicle 1, 1 s before its crossing
    ego = window.inputs["ego"][0]
    np.testing.assert_allclose(ego[:, 0], [-10, -8, -6, -4, -2, 0], atol=1e-5)
    np.testing.assert_allclose(ego[:, 1], 0.175 * np.array([-5, -4, -3, -2, -1, 0]), atol=1e-5)
    np.testing.assert_allclose(window.future[0, :, 0], 2 * np.arange(1, 11), atol=1e-5)
    np.testing.assert_allclose(window.future[0, :, 1], 0.175 * np.arange(1, 11), atol=1e-5)
    assert (window.intention[0], window.to_crossing[0], window.judged[0]) == (1, 1.0, True)
    np.testing.assert_allclose(window.inputs["length"], 4.0)


def test_neighbours_of_the_present_with_their_past(cutter):
    window = cutter.cut(np.array([45]))
    places, present = window.inputs["neighbours"][0], window.inputs["present"][0]
    ahead, behind_left = SLOTS.index("preceding"), SLOTS.index("left_following")
    assert present.sum(axis=0).tolist() == [6 * (i in (ahead, behind_left)) for i in range(6)]
    np.testing.assert_allclose(places[:, ahead, 0], 30 + 2 * np.arange(-5, 1), atol=1e-5)
    offset = 1.75 + 3.5 * 5 / 20
    np.testing.assert_allclose(places[:, behind_left, 1], 5.25 - offset, atol=1e-5)
    assert (places[present == 0] == 0).all()


def test_a_neighbours_past_ends_where_it_was_first_seen(two_lanes, short):
    late = ~((two_lanes.table["vehicle"] == 2) & (two_lanes.table["frame"] < 43)).to_numpy()
    cutter = WindowCutter(two_lanes.only(late), short)
    present = cutter.cut(np.array([45])).inputs["present"][0]
    assert present[:, SLOTS.index("preceding")].tolist() == [0, 0, 0, 1, 1, 1]


def test_lanes_by_hand(cutter):
    window = cutter.cut(np.array([45, 145]))
    # Medians of y: vehicle 2 holds the right lane's at 1.75.
    np.testing.assert_allclose(window.inputs["lane_offset"][1], 0, atol=1e-5)
    assert window.inputs["lane_offset"][0, -1] == pytest.approx(0.875, abs=1e-5)
    assert window.inputs["lanes_beside"][0].tolist() == [[1, 0]] * 6
    left = cutter.cut(np.array([250])).inputs["lanes_beside"]
    assert left[0].tolist() == [[0, 1]] * 6


def test_unknown_lanes_and_lengths_are_marked(two_lanes, short):
    table = two_lanes.table.assign(lane=-1)
    unknown = Tracks.of(table, rate=5)
    cutter = WindowCutter(unknown, short)
    window = cutter.cut(np.array([45, 250]))
    assert (window.inputs["lane_offset"] == UNKNOWN_OFFSET).all()
    assert (window.inputs["lanes_beside"] == 0).all()
    assert window.inputs["length"].tolist() == [4.0, 0.0]
    assert window.intention.tolist() == [-1, -1] and not window.judged.any()
    assert all(np.isfinite(values).all() for values in window.inputs.values())


def test_positions_far_from_0_lose_nothing(two_lanes, short):
    far = Tracks.of(two_lanes.table.assign(x=two_lanes.table["x"] + 4e6), rate=5, lane_width=3.5)
    near, moved = (WindowCutter(t, short).cut(np.array([45])) for t in (two_lanes, far))
    np.testing.assert_allclose(moved.inputs["ego"], near.inputs["ego"], atol=1e-5)
    np.testing.assert_allclose(moved.inputs["neighbours"], near.inputs["neighbours"], atol=1e-5)


def test_ends_and_strides(cutter):
    table = cutter.tracks.table
    assert table["frame"][cutter.ends()].tolist() == [99] * 3
    strided = cutter.strided(cutter.rows(), seconds=2.0)
    frames = table["frame"][strided[table["vehicle"][strided] == 1]]
    assert frames.tolist() == list(range(5, 90, 10))


def test_after_the_crossing_nothing_is_judged_until_the_vehicle_is_at_rest(cutter):
    frames = np.array([49, 52, 58, 70])
    window = cutter.cut(frames)
    assert window.judged.tolist() == [True, False, False, True]
    assert window.intention.tolist() == [1, 0, 0, 0]


def test_recognition_also_labels_the_time_after(two_lanes, short):
    recognition = short.model_copy(update={"labels": "recognition"})
    window = WindowCutter(two_lanes, recognition).cut(np.array([38, 45, 55, 70]))
    assert window.intention.tolist() == [0, 1, 1, 0]
    assert window.judged.all()


def test_sites_are_numbered_and_others_are_0(two_lanes, short):
    named = Tracks.of(two_lanes.table.assign(recording="b/1"), rate=5)
    for sites, number in ((("a", "b"), 2), (("a",), 0)):
        inputs = WindowCutter(named, short, sites).cut(np.array([45])).inputs
        assert inputs["site"].tolist() == [number]
    assert "site" not in WindowCutter(named, short).cut(np.array([45])).inputs
