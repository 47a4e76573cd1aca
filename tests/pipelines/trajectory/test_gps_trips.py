from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.gps_trips import read_lane_changes, read_trip
from moe_apps.pipelines.trajectory.labels import count_changes, crossings

DATA = Path(os.environ.get("MOE_APPS_DATA", "../shared/data")) / "trajectory"


def _trip(folder: Path) -> tuple[Path, Path]:
    time = 100.3 + np.arange(60) + (np.arange(60) >= 40) * 7
    fixes = pd.DataFrame(
        {
            "t": time,
            "x_gps": 15.0 * np.arange(60) + 80_000,
            "y_gps": 20.0 * np.arange(60) + 440_000,
            "offset": np.where(time > 120.5, -3.5, 0.0),
        }
    )
    fixes.loc[30, "offset"] = -900.0
    fixes.to_csv(folder / "fixes.csv", index=False)
    lines = ["t_lc,direction,from lane,to lane,type", "120.0,left,2,1,", "130.0,right,1,2,aborted"]
    (folder / "notes.csv").write_text("\n".join([*lines, "155.1,right,1,3,", "500,left,2,1,exit"]))
    return folder / "fixes.csv", folder / "notes.csv"


def test_lanes_follow_from_the_annotations(tmp_path: Path) -> None:
    tracks = read_trip(*_trip(tmp_path), recording="trip")
    table = tracks.table
    # Cut at the fix far off, at the gap, and nowhere else.
    assert table.groupby("vehicle").size().tolist() == [30, 9, 20]
    moves = crossings(tracks)
    assert np.flatnonzero(moves).tolist() == [20, 47] and moves[[20, 47]].tolist() == [1, -1]
    assert table["lane"].tolist() == [1 + 0] * 20 + [2] * 27 + [0] * 12
    assert table["y"].iloc[25] == 3.5
    np.testing.assert_allclose(table["x"].diff()[1:20], 25.0)
    assert tracks.rate == 1 and (table["recording"] == "trip").all()
    assert tracks.notes == (
        "fixes.csv: 1 fixes dropped, more than 40 m from the road",
        "fixes.csv: 1 lane changes outside of the record",
    )
    assert read_trip(*_trip(tmp_path), stretch=10).table["vehicle"].nunique() == 6


def test_bad_annotations(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("t_lc,direction\n1,up\n")
    with pytest.raises(DataError, match="direction 'up', expected left or right"):
        read_lane_changes(path)
    path.write_text("time,direction\n1,left\n")
    with pytest.raises(DataError, match="no column 't_lc'"):
        read_lane_changes(path)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real drives in {DATA}; set MOE_APPS_DATA")
@pytest.mark.parametrize(("trip", "left", "right"), [(1, 28, 30), (2, 39, 37)])
@pytest.mark.parametrize("receiver", ["globalsat", "s9"])
def test_real_drives(trip: int, left: int, right: int, receiver: str) -> None:
    notes = DATA / f"gps_lanechange_trip{trip}_annotations.csv"
    changes = read_lane_changes(notes)
    assert ((changes["lanes"] > 0).sum(), (changes["lanes"] < 0).sum()) == (left, right)
    tracks = read_trip(DATA / f"gps_lanechange_trip{trip}_{receiver}.csv", notes)
    found = count_changes(tracks)
    # A few lie in the gaps and at the cuts of the record.
    assert left - 6 <= found["left"] <= left and right - 6 <= found["right"] <= right
    # The vehicle does move to the side that the person saw.
    rows = np.flatnonzero(crossings(tracks))
    rows = rows[(rows > 4) & (rows < len(tracks) - 4)]
    y = tracks.table["y"].to_numpy()
    moved = (y[rows + 3] - y[rows - 3]) * crossings(tracks)[rows]
    assert np.mean(moved > 1) > 0.85 and 2 < np.median(moved) < 4
