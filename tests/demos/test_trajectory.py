"""The tab of trajectories, asked as a visitor's own program asks it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from track_files import ngsim, road

DOMAIN = "trajectory"


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tracks") / "trajectories-0750am-0805am.csv"
    ngsim(road()).to_csv(path, index=False)
    return path


def test_vehicles_that_change_lanes_are_offered_first(client, tracks):
    vehicles, moment, found = client.predict(
        handle_file(str(tracks)), api_name="/trajectory_vehicles"
    )
    (first, value), (second, _), *others = vehicles["choices"]
    assert {first.split(": ")[1].split(" at")[0], second.split(": ")[1].split(" at")[0]} == {
        "to the left",
        "to the right",
    }
    assert vehicles["value"] == value and all(label == value for label, value in others)
    assert moment["minimum"] <= moment["value"] <= moment["maximum"]
    assert found.startswith(f"{len(vehicles['choices'])} vehicles")
    again = client.predict(handle_file(str(tracks)), value, api_name="/trajectory_moments")
    assert again["value"] == moment["value"]


def test_a_vehicle_is_predicted_with_replay_intentions_and_gates(client, tracks):
    vehicles, moment, _ = client.predict(handle_file(str(tracks)), api_name="/trajectory_vehicles")
    replay, intentions, gates, words = client.predict(
        handle_file(str(tracks)), vehicles["value"], moment["value"], api_name="/trajectory"
    )
    figure = json.loads(replay["plot"])
    steps = figure["layout"]["sliders"][0]["steps"]
    assert [steps[0]["label"], steps[-1]["label"]] == ["-1.0 s", "+2.0 s"]
    assert len(steps) == 16  # at 5 Hz
    names = [trace["name"].split(" ")[0] for trace in figure["data"]]
    assert {"history", "keep", "left", "right", "others", "this", "area"} <= set(names)
    update, moved = steps[-1]["args"]
    assert len(update["x"]) == len(moved) and update["x"][1]  # the vehicle itself
    shares = [trace["name"] for trace in json.loads(intentions["plot"])["data"]]
    assert shares == ["keep", "left", "right"]
    assert all(task in gates["plot"] for task in ("longitudinal", "lateral", "intention"))
    assert "how sure: a deviation of" in words and "What came: it was" in words
    assert words.count("**Expert") == 3 and "Answered by" in words


def test_mistakes_are_named(client, tracks, tmp_path):
    with pytest.raises(AppError, match="Choose tracks first"):
        client.predict(None, None, 3, api_name="/trajectory")
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(AppError, match=r"^.?notes\.csv"):
        client.predict(handle_file(str(tmp_path / "notes.csv")), None, 3, api_name="/trajectory")
    with pytest.raises(AppError, match="is no vehicle; expected RECORDING #NUMBER"):
        client.predict(handle_file(str(tracks)), "the red one", 3, api_name="/trajectory")
