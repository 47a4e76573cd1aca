"""Every format of roads: the made road, written as the format has it, comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import track_files
from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.labels import count_changes, crossings
from moe_apps.pipelines.trajectory.readers import read_tracks
from moe_apps.pipelines.trajectory.tracks import Tracks
from track_files import FOOT, road


def _same(found: Tracks, truth: Tracks, recording: str, lanes: bool = True) -> None:
    """The recording is the truth, but for where x, y and the frames begin."""
    table = found.table[found.table["recording"] == recording].reset_index(drop=True)
    first = table.groupby("vehicle").ngroup().to_numpy()
    expected = truth.table
    assert (first == expected.groupby("vehicle").ngroup()).all()
    for name in ("x", "y"):
        moved = table[name] - expected[name]
        # Turned recordings are turned by their mean direction: within a hundredth of a radian.
        slope = np.polyfit(expected["x"], moved, 1)[0]
        assert abs(slope) < 0.01, name
        flat = moved - slope * expected["x"]
        assert flat.max() - flat.min() < 0.11, name
    assert found.rate == truth.rate
    assert (table["frame"].diff()[1:] == expected["frame"].diff()[1:]).all()
    if lanes:
        assert table["lane"].tolist() == expected["lane"].tolist()


def test_ngsim_text(tmp_path: Path) -> None:
    truth = road()
    path = tmp_path / "trajectories-0750am-0805am.txt"
    rows = track_files.ngsim(truth)
    path.write_text("\n".join(" ".join(f"{v:.5f}" for v in row) for row in rows.to_numpy()))
    found = read_tracks(path)
    _same(found, truth, path.stem)
    np.testing.assert_allclose(found.table["length"], truth.table["length"], atol=1e-5)
    np.testing.assert_allclose(found.table["x"], truth.table["x"], atol=1e-5)
    assert found.table["kind"].tolist() == truth.table["kind"].tolist()
    assert found.lane_width == pytest.approx(12 * FOOT) and found.notes == ()


def _portal(folder: Path, rows: pd.DataFrame) -> Path:
    """As the portal's CSV: its spelling, thousands commas, a NUL byte."""
    rows = rows.rename(columns={"v_Length": "v_length", "Space_Headway": "Space_Hdwy"})
    for name in ("Global_Time", "Global_X", "Local_Y"):
        rows[name] = [f"{value:,.3f}" for value in rows[name]]
    path = folder / "portal.csv"
    rows.to_csv(path, index=False)
    text = path.read_bytes()
    path.write_bytes(text[:300] + b"\0\0" + text[300:])
    return path


def test_ngsim_portal_csv(tmp_path: Path) -> None:
    early, late = road(), road(seconds=5)
    rows = [
        track_files.ngsim(early).assign(Location="us-101"),
        # The same numbers of vehicles and frames a quarter of an hour later, and elsewhere.
        track_files.ngsim(late, global_time=1118846980200 + 900_000).assign(Location="us-101"),
        track_files.ngsim(early).assign(Location="i-80"),
    ]
    found = read_tracks(_portal(tmp_path, pd.concat(rows)))
    assert found.table["recording"].unique().tolist() == ["i-80", "us-101 1", "us-101 2"]
    _same(found, early, "us-101 1")
    _same(found, late, "us-101 2")
    _same(found, early, "i-80")
    assert found.notes == ("portal.csv: 2 NUL bytes left out",)
    assert count_changes(found).to_dict() == {"left": 3, "right": 3}


def test_ngsim_doubled_and_torn_rows(tmp_path: Path) -> None:
    truth = road()
    rows = track_files.ngsim(truth).assign(Location="i-80")
    moved = rows.iloc[[20]].assign(Local_X=99.0)
    path = _portal(tmp_path, pd.concat([rows, rows.iloc[:30], moved]))
    with path.open("a") as file:
        file.write('3,"no number here"' + "," * 17 + "\n")
    found = read_tracks(path)
    _same(found, truth, "i-80")
    notes = "\n".join(found.notes)
    assert "31 rows dropped, their vehicle has that frame already" in notes
    assert "(first: vehicle 1, frame 13), 1 of them at another place" in notes
    assert "1 rows dropped, they hold no numbers (row 347, column 'Frame_ID': 'no number" in notes


def test_ngsim_ramps_count_with_the_auxiliary_lane(tmp_path: Path) -> None:
    rows = track_files.ngsim(road()).assign(Location="us-101")
    rows["Lane_ID"] = rows["Lane_ID"].map({1: 5, 2: 6, 3: 7})
    found = read_tracks(_portal(tmp_path, rows))
    assert sorted(found.table["lane"].unique()) == [0, 1]
    assert any("lanes 7 and 8" in note for note in found.notes)
    # Of the changes from 7 to 6 and from 5 to 6 the first is none any more.
    assert count_changes(found).to_dict() == {"left": 0, "right": 1}


def test_ngsim_arterial_has_both_directions(tmp_path: Path) -> None:
    truth = road()
    north = track_files.ngsim(truth).assign(Direction=2)
    south = track_files.ngsim(truth).assign(Direction=4)
    south["Vehicle_ID"] += 50
    south["Local_Y"], south["Local_X"] = 1500 - south["Local_Y"], -30 - south["Local_X"]
    found = read_tracks(_portal(tmp_path, pd.concat([north, south]).assign(Location="peachtree")))
    for recording in ("peachtree/1", "peachtree/2"):
        _same(found, truth, recording)
        assert count_changes(found).to_dict() == {"left": 2, "right": 2}


@pytest.mark.parametrize("meta", [True, False])
def test_highd(tmp_path: Path, meta: bool) -> None:
    truth = road(rate=25)
    path = track_files.write_highd(tmp_path, truth)
    if not meta:
        (tmp_path / "07_tracksMeta.csv").unlink()
    found = read_tracks(path)
    for side in ("upper", "lower"):
        _same(found, truth, f"07 {side}")
        table = found.table[found.table["recording"] == f"07 {side}"]
        np.testing.assert_allclose(table["length"], truth.table["length"])
        expected = truth.table["kind"].tolist() if meta else ["unknown"] * len(truth)
        assert table["kind"].tolist() == expected
    assert found.lane_width == pytest.approx(track_files.LANE)
    assert bool(found.notes) != meta
    # A folder is read by its tracks; the meta files are no tracks.
    assert len(read_tracks(tmp_path)) == len(found)
    assert read_tracks(tmp_path, rate=10).rate == 10


@pytest.mark.parametrize("angle", [0.4, 2.8, -1.6])
def test_ind_is_turned_along_the_road(tmp_path: Path, angle: float) -> None:
    truth = road(rate=25)
    found = read_tracks(track_files.write_ind(tmp_path, truth, angle))
    _same(found, truth, "03", lanes=False)
    assert (found.table["lane"] == -1).all()
    assert found.table["kind"].tolist() == truth.table["kind"].tolist()


def test_exid_lanes_change_only_where_it_says_so(tmp_path: Path) -> None:
    truth = road(rate=25)
    found = read_tracks(track_files.write_ind(tmp_path, truth, 1.0, exid=True))
    changes = crossings(truth)
    assert (crossings(found) == changes).all() and (changes != 0).sum() == 2
    assert found.lane_width == pytest.approx(track_files.LANE)


def test_citysim(tmp_path: Path) -> None:
    truth = road(rate=30)
    path = tmp_path / "ExpresswayA-01.csv"
    track_files.citysim(truth).to_csv(path, index=False)
    found = read_tracks(path)
    for side in (1, 2):
        _same(found, truth, f"ExpresswayA-01/{side}")
    np.testing.assert_allclose(found.table["length"][: len(truth)], truth.table["length"])
    np.testing.assert_allclose(found.table["width"], 1.8)
    assert not any("warning" in note for note in found.notes)
    assert read_tracks(path, rate=10).rate == 10


def test_citysim_in_degrees_or_pixels_only(tmp_path: Path) -> None:
    truth = road(rate=30)
    rows = track_files.citysim(truth)
    metres = rows[["carCenterXft", "carCenterYft"]] * FOOT
    rows = rows.drop(columns=[name for name in rows if name.endswith("ft")])
    path = tmp_path / "Intersection.csv"
    rows.to_csv(path, index=False)
    with pytest.raises(DataError, match="positions in pixels alone have no known scale"):
        read_tracks(path)
    rows["carCenterLat"] = 28.6 - np.degrees(metres["carCenterYft"] / 6_371_000)
    scale = 6_371_000 * np.cos(np.radians(28.6))
    rows["carCenterLon"] = -81.2 + np.degrees(metres["carCenterXft"] / scale)
    rows.to_csv(path, index=False)
    found = read_tracks(path)
    _same(found, truth, "Intersection/1")
    assert "positions are those in degrees" in found.notes[0]


def test_interaction(tmp_path: Path) -> None:
    truth = road()
    table = track_files.turned(truth, 2.0, at=(1000.0, 990.0))
    path = tmp_path / "vehicle_tracks_000.csv"
    rows = pd.DataFrame({"track_id": table["vehicle"], "frame_id": table["frame"] + 1})
    rows["timestamp_ms"] = 100 * rows["frame_id"]
    rows["agent_type"] = table["kind"]
    rows[["x", "y", "vx", "vy", "psi_rad"]] = table[["x", "y", "vx", "vy", "heading"]]
    rows[["length", "width"]] = table[["length", "width"]]
    rows.to_csv(path, index=False)
    found = read_tracks(path)
    _same(found, truth, path.stem, lanes=False)
    assert not found.notes
    # Walkers have names and no size; cases are recordings of their own.
    walkers = rows.drop(columns=["psi_rad", "length", "width"])
    walkers["track_id"] = "P" + walkers["track_id"].astype("str")
    walkers["agent_type"] = "pedestrian/bicycle"
    path = tmp_path / "pedestrian_tracks_000.csv"
    pd.concat([walkers.assign(case_id=1.0), walkers.assign(case_id=2.0)]).to_csv(path, index=False)
    found = read_tracks(path)
    assert found.table["recording"].unique().tolist() == [f"{path.stem} case {n}" for n in (1, 2)]
    _same(found, truth, f"{path.stem} case 1", lanes=False)


@pytest.mark.parametrize("old", [True, False])
def test_commonroad(tmp_path: Path, old: bool) -> None:
    truth = road()
    path = tmp_path / "USA_Made-1_1_T-1.xml"
    path.write_text(track_files.commonroad(truth, angle=-0.9, old=old))
    found = read_tracks(path)
    _same(found, truth, path.stem)
    assert found.table["frame"].tolist() == truth.table["frame"].tolist()
    assert found.lane_width == pytest.approx(track_files.LANE, abs=1e-4)
    assert found.notes == (f"{path.name}: 1 static obstacles left out",)
    np.testing.assert_allclose(found.table["length"], truth.table["length"])


def test_argoverse2(tmp_path: Path) -> None:
    truth = road()
    table = track_files.turned(truth, 0.3, at=(-3800.0, 1200.0))
    rows = pd.DataFrame(
        {
            "observed": table["frame"] < 50,
            "track_id": (table["vehicle"] + 138000).astype("str").replace("138001", "AV"),
            "object_type": table["kind"].map({"car": "vehicle", "truck": "bus"}),
            "object_category": 2,
            "timestep": table["frame"],
            "position_x": table["x"],
            "position_y": table["y"],
            "heading": table["heading"],
            "velocity_x": table["vx"],
            "velocity_y": table["vy"],
            "scenario_id": "0a1e",
        }
    )
    post = rows.iloc[:20].assign(track_id="7", object_type="static")
    path = tmp_path / "scenario_0a1e.parquet"
    pd.concat([post, rows]).to_parquet(path)
    found = read_tracks(path)
    _same(found, truth, "0a1e", lanes=False)
    assert found.notes == (f"{path.name}: tracks left out, they are no road users: 1 static",)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_of_ones_own(tmp_path: Path, suffix: str) -> None:
    truth = road(rate=12.5)
    path = tmp_path / f"mine{suffix}"
    rows = truth.table.drop(columns="frame").assign(
        vehicle="car " + truth.table["vehicle"].astype("str")
    )
    rows.to_csv(path, index=False) if suffix == ".csv" else rows.to_parquet(path)
    found = read_tracks(path)
    _same(found, truth, "road")
    assert found.table["kind"].tolist() == truth.table["kind"].tolist()
    uneven = rows.assign(time=rows["time"] + 0.03 * (rows["time"] > 2) * (rows["time"] % 0.16 > 0))
    uneven.to_csv(tmp_path / "uneven.csv", index=False)
    with pytest.raises(DataError, match=r"is between two steps of 0\.08 s"):
        read_tracks(tmp_path / "uneven.csv")
