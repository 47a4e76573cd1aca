from __future__ import annotations

from pathlib import Path

import pytest

import track_files
from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.inspect import inspect


def test_what_is_understood_of_a_file(tmp_path: Path) -> None:
    truth = track_files.road(seconds=12)
    rows = track_files.ngsim(truth)
    gap = (rows["Vehicle_ID"] == 6) & rows["Frame_ID"].between(60, 64)
    path = tmp_path / "i-80.csv"
    rows[~gap].to_csv(path, index=False)
    facts = inspect(path)
    assert facts["vehicles"] == 6 and facts["rows"] == (~gap).sum() and facts["rate_hz"] == [10.0]
    assert facts["kinds"] == {"car": 5, "truck": 1}
    assert facts["lane_changes"] == {"left": 1, "right": 1} and facts["lane_width_m"] == [3.66]
    (each,) = facts["each"]
    assert each["recording"] == "i-80" and each["lanes"] == 3 and each["gaps"] == 1
    assert each["seconds"] == pytest.approx(11.9) and 24 < each["speed"] < 30
    # Vehicle 6 has 37 frames before its gap and 63 behind it, of the 80 that are needed.
    assert facts["vehicles_long_enough"] == 5
    assert facts["notes"] == [
        "1 of 6 vehicles are never in view for 3 + 5 s without a gap: no window of that history "
        "and horizon in them"
    ]


def test_notes_on_what_cannot_be_learnt(tmp_path: Path) -> None:
    own = track_files.road(seconds=12).table
    path = tmp_path / "mine.csv"
    for column, value, message in (
        ("lane", -1, "lanes are unknown"),
        ("lane", 2, "one lane only"),
        ("lane", own["vehicle"] % 3, "no vehicle changes lanes"),
    ):
        own.assign(**{column: value}).to_csv(path, index=False)
        assert inspect(path)["notes"][-1].startswith(message)


def test_a_folder_of_several_rates(tmp_path: Path) -> None:
    track_files.road(seconds=12).table.to_csv(tmp_path / "a.csv", index=False)
    track_files.write_highd(tmp_path, track_files.road(rate=25, seconds=12))
    (tmp_path / "notes.txt").write_text("read me first\n")
    facts = inspect(tmp_path)
    assert facts["files"] == 2 and facts["recordings"] == 3 and facts["rate_hz"] == [10.0, 25.0]
    assert [row["recording"] for row in facts["each"]] == ["07 lower", "07 upper", "road"]
    assert facts["notes"][0].startswith("warning: file skipped: ")
    assert facts["notes"][-1] == "rates differ: for training they are brought to one"


def test_nothing_to_inspect(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of tracks in it"):
        inspect(tmp_path)
