"""Real files, where they are: what is known of them is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moe_apps.pipelines.trajectory.labels import count_changes
from moe_apps.pipelines.trajectory.neighbours import neighbours
from moe_apps.pipelines.trajectory.readers import read_tracks

DATA = Path(os.environ.get("MOE_APPS_DATA", "../shared/data")) / "trajectory"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real tracks in {DATA}; set MOE_APPS_DATA"
)
SCENARIOS = ("USA_Lanker-1_1_T-1", "USA_Peach-4_8_T-1", "USA_US101-3_3_T-1")


@pytest.mark.parametrize("name", SCENARIOS)
def test_ngsim_scenarios_agree_with_their_flat_copy(name: str) -> None:
    found = read_tracks(DATA / f"{name}.xml")
    flat = pd.read_csv(DATA / "commonroad_ngsim_tracks.csv")
    flat = flat[flat["scenario"] == name].sort_values(["track_id", "step"])
    table = found.table.sort_values(["vehicle", "frame"])
    assert table["vehicle"].tolist() == flat["track_id"].tolist()
    assert table["frame"].tolist() == flat["step"].tolist()
    # Turned and moved, but the same way: distances from each row to the next are equal.
    for rows, columns in ((table, ["x", "y"]), (flat, ["x_m", "y_m"])):
        rows["step_length"] = np.linalg.norm(np.diff(rows[columns], axis=0, prepend=0), axis=1)
    inside = (table["vehicle"].diff() == 0).to_numpy()
    np.testing.assert_allclose(table["step_length"][inside], flat["step_length"][inside], atol=1e-9)
    np.testing.assert_allclose(table["length"], flat["length_m"])
    assert table.groupby("vehicle")["x"].agg(lambda x: x.iloc[-1] - x.iloc[0]).min() > -1.0


def test_us101_lanes_lie_beside_each_other() -> None:
    found = read_tracks(DATA / "USA_US101-3_3_T-1.xml")
    assert found.table["recording"].nunique() == 1 and found.rate == 10
    place = found.table.groupby("lane")["y"].median()
    assert place.index.tolist() == [0, 1, 2, 3, 4]
    assert place.diff()[1:].between(2.5, 5.0).all()
    assert count_changes(found).to_dict() == {"left": 1, "right": 0}
    slots = neighbours(found)
    rows = np.flatnonzero(slots[:, 0] >= 0)
    ahead = found.table["x"].to_numpy()[slots[rows, 0]] - found.table["x"].to_numpy()[rows]
    assert len(rows) > 50 and (ahead > 3).all()


def test_argoverse_scenario() -> None:
    found = read_tracks(DATA / "av2_scenario_0a1e6f0a.parquet")
    assert found.rate == 10 and found.table["frame"].between(0, 109).all()
    assert set(found.table["kind"]) == {"car", "pedestrian"}
    assert len(found) == 1774 + 329
    assert "8 static, 4 riderless_bicycle, 2 background" in found.notes[0]


def test_pedestrians_of_the_hotel() -> None:
    found = read_tracks(DATA / "eth_hotel_obsmat.txt")
    assert len(found) == 6544 and found.rate == 2.5
    assert found.table["vehicle"].nunique() == 390
    speed = found.table.groupby("vehicle")["x"].diff() * 2.5
    assert 0.3 < speed.median() < 1.5


def test_format_examples() -> None:
    made = read_tracks(DATA / "interaction_testscenario_vehicle_tracks_000.csv")
    assert made.rate == 10 and len(made) == 170
    walkers = read_tracks(DATA / "trajnetpp_sample_test.ndjson")
    assert len(walkers) == 18 and walkers.table["vehicle"].nunique() == 2


def test_the_folder_as_it_is_brought_to_one_rate() -> None:
    found = read_tracks(DATA, rate=5)
    assert found.table["recording"].nunique() > 10
    skipped = [note for note in found.notes if "skipped" in note]
    assert any("gps_lanechange" in note for note in skipped)
