"""Folders, formats told by their columns, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import track_files
from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.trajectory.readers import FORMATS, read_tracks
from moe_apps.pipelines.trajectory.readers.detection import detect


def _ngsim(path: Path, rows: pd.DataFrame | None = None) -> Path:
    (track_files.ngsim(track_files.road()) if rows is None else rows).to_csv(path, index=False)
    return path


def test_formats_are_told_by_columns(tmp_path: Path) -> None:
    truth = track_files.road(rate=25)
    for name in ("highd", "ind", "exid"):
        (tmp_path / name).mkdir()
    files = {
        "ngsim": _ngsim(tmp_path / "ngsim.csv"),
        "highd": track_files.write_highd(tmp_path / "highd", truth),
        "ind": track_files.write_ind(tmp_path / "exid", truth, 0.0, exid=True),
        "citysim": tmp_path / "citysim.csv",
        "commonroad": tmp_path / "scenario.xml",
        "table": tmp_path / "mine.csv",
    }
    track_files.citysim(truth).to_csv(files["citysim"], index=False)
    files["commonroad"].write_text(track_files.commonroad(truth, 0.0))
    truth.table.to_csv(files["table"], index=False)
    for format, path in files.items():
        assert detect(path) == format
        assert len(read_tracks(path, format)) == len(read_tracks(path))
    assert set(files) < set(FORMATS)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = track_files.ngsim(track_files.road())
    for column in ("Vehicle_ID", "Frame_ID", "Local_X", "Lane_ID"):
        path = _ngsim(tmp_path / "short.csv", rows.drop(columns=column))
        with pytest.raises(DataError) as caught:
            read_tracks(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: no column {column!r}, which NGSIM tracks have; found ")
        assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.csv", "", "is empty"),
        ("head.csv", "vehicle,time,x,y\n", "has no rows"),
        ("other.csv", "a,b,c\n1,2,3\n", "columns of no known format: a, b, c"),
        ("other.txt", "1 2 3 4 5\n", "no header line and 5 columns"),
        ("uneven.txt", "1 2 3 4\n1 2 3 4 5 6\n", "is no table that can be read"),
        ("words.csv", "vehicle,time,x,y\n1,0,a,0\n1,1,b,0\n", "2 of 2 rows hold no numbers"),
        ("blank.csv", "vehicle,time,x,y\n1,0,,0\n1,1,,0\n", "no row has a vehicle, a frame"),
        ("note.md", "text", "ending, expected"),
        ("broken.xml", "<commonRoad>", "is no XML that can be read"),
        ("other.xml", "<gpx></gpx>", "its root is <gpx>"),
        ("bare.xml", '<commonRoad timeStepSize="0.1"></commonRoad>', "no moving obstacle"),
        ("broken.parquet", "PAR1", "is no Parquet that can be read"),
        ("bare.ndjson", "\n", "has no track in it"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_tracks(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_xml_that_would_grow_without_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY b "cc">]><commonRoad>&b;</commonRoad>')
    with pytest.raises(DataError, match="is no XML that can be read: EntitiesForbidden"):
        read_tracks(path)


def test_an_obstacle_without_a_point_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scenario.xml"
    text = track_files.commonroad(track_files.road(), 0.0)
    path.write_text(
        text.replace("<time><exact>", "<time><about>").replace("</exact></time>", "</about></time>")
    )
    with pytest.raises(DataError, match="obstacle '1' has a state without a point and an exact"):
        read_tracks(path)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of tracks in it"):
        read_tracks(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_tracks(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="format 'gps': expected auto or one of ngsim"):
        read_tracks(tmp_path, "gps")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"bad\.csv: columns of no known format"):
        read_tracks(tmp_path)
    (tmp_path / "day").mkdir()
    _ngsim(tmp_path / "day" / "one.csv")
    _ngsim(tmp_path / "two.csv")
    found = read_tracks(tmp_path)
    assert found.table["recording"].unique().tolist() == ["one", "two"]
    assert found.notes[-1].startswith(f"warning: file skipped: {tmp_path / 'bad.csv'}: ")
    with pytest.raises(DataError, match=r"bad\.csv"):
        read_tracks(tmp_path, strict=True)


def test_files_of_unequal_rates_need_one(tmp_path: Path) -> None:
    _ngsim(tmp_path / "one.csv")
    track_files.road(rate=25).table.to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(DataError, match="tracks at 10 and 25 Hz"):
        read_tracks(tmp_path)
    assert read_tracks(tmp_path, rate=5).rate == 5


def test_implausible_units_are_warned_of(tmp_path: Path) -> None:
    rows = track_files.ngsim(track_files.road())
    assert not read_tracks(_ngsim(tmp_path / "right.csv", rows)).notes
    # Three of the six vehicles in metres, their speed column still in feet a second.
    mixed = rows.copy()
    metres = mixed["Vehicle_ID"] > 3
    mixed.loc[metres, ["Local_X", "Local_Y"]] *= track_files.FOOT
    notes = read_tracks(_ngsim(tmp_path / "mixed.csv", mixed)).notes
    assert notes == (
        "mixed.csv: warning: 3 of 6 vehicles move 0.30 times as fast as their speed column says "
        "(metres taken for feet?): units are mixed",
    )
    # All in metres, consistently: lengths tell.
    short = rows.copy()
    names = ["Local_X", "Local_Y", "v_Length", "v_Width", "v_Vel"]
    short[names] *= track_files.FOOT
    notes = read_tracks(_ngsim(tmp_path / "metres.csv", short)).notes
    assert "vehicles are 1.5 m long in the median: implausible" in notes[0]
    # Feet where metres are expected: faster than any vehicle.
    own = track_files.road().table
    own.assign(x=own["x"] / track_files.FOOT).to_csv(tmp_path / "feet.csv", index=False)
    notes = read_tracks(tmp_path / "feet.csv").notes
    assert "6 of 6 vehicles move at more than 60 m/s" in notes[0]


def test_a_vehicle_that_jumps_is_two(tmp_path: Path) -> None:
    own = track_files.road().table
    late = (own["vehicle"] == 3) & (own["frame"] >= 30)
    own.loc[late, "x"] += 300
    own.to_csv(tmp_path / "jump.csv", index=False)
    found = read_tracks(tmp_path / "jump.csv")
    assert found.table["vehicle"].nunique() == 7
    assert found.notes == (
        "jump.csv: tracks cut at 1 jumps of more than 75 m/s, and vehicles numbered anew "
        "(first: vehicle 3, frame 30)",
    )


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "noise.csv"
    path.write_bytes(np.random.default_rng(0).bytes(4000))
    with pytest.raises(DataError):
        read_tracks(path)
