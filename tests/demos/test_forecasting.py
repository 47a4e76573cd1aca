"""The tab of forecasting, asked as a visitor's own program asks it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

DOMAIN = "forecasting"
FIND = "find it"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    hours = np.arange(120)
    wave = np.sin(2 * np.pi * hours / 24)
    frame = pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=120, freq="h"),
            "load": 50 + 10 * wave,
            "wind": 5 + wave,
        }
    )
    path = tmp_path_factory.mktemp("tables") / "hourly.csv"
    frame.to_csv(path, index=False)
    return path


def traces(plot: dict) -> dict[str, dict]:
    return {trace["name"]: trace for trace in json.loads(plot["plot"])["data"] if "name" in trace}


def test_the_columns_of_a_table_are_found(client, table):
    time, _, series, found = client.predict(
        handle_file(str(table)), FIND, [], api_name="/forecast_columns"
    )
    assert [name for name, _ in time["choices"]] == [
        FIND,
        "rows have no time",
        "date",
        "load",
        "wind",
    ]
    assert [name for name, _ in series["choices"]] == ["load", "wind"] and series["value"] == "load"
    assert "2 series of up to 120 steps of h" in found


def test_a_series_is_forecast_with_interval_baseline_and_experts(client, table):
    chart, experts, words, numbers, file = client.predict(
        handle_file(str(table)), FIND, [], "wind", 8, api_name="/forecast"
    )
    lines = traces(chart)
    assert len(lines["history"]["x"]) == 24
    # Joined to the last value.
    assert len(lines["forecast"]["x"]) == len(lines["seasonal naive"]["x"]) == 9
    np.testing.assert_allclose(
        lines["seasonal naive"]["y"][1:], lines["history"]["y"][:8], atol=1e-6
    )
    assert any(name.startswith("80 of 100") for name in lines)
    assert "The next 8 steps of wind" in words and "How sure: 80 of 100 values" in words
    assert "**Expert" in words and "strongest for hour" in words
    assert "Answered by Time-MoE of" in words
    assert "layer 0" in experts["plot"]
    written = pd.read_csv(file)
    assert len(written) == 8 and (written["lower_80"] < written["upper_80"]).all()
    assert len(numbers["data"]) == 8


def test_mistakes_are_named_by_the_files_own_name(client, table, tmp_path):
    with pytest.raises(AppError, match="Choose a table first"):
        client.predict(None, FIND, [], None, 6, api_name="/forecast")
    (tmp_path / "notes.csv").write_text("date,load\n2024-01-01,ten\n2024-01-02,12\n2024-01-03,11\n")
    with pytest.raises(AppError, match=r"^.?notes\.csv: row 2, column 'load': found 'ten'"):
        client.predict(
            handle_file(str(tmp_path / "notes.csv")), FIND, [], None, 6, api_name="/forecast"
        )
    with pytest.raises(AppError, match="has no series 'sun'; found load, wind"):
        client.predict(handle_file(str(table)), FIND, [], "sun", 6, api_name="/forecast")


def test_a_short_table_gets_a_forecast_and_is_told_why_not_more(client, tmp_path):
    rows = ["x", *map(str, range(10))]
    (tmp_path / "short.csv").write_text("\n".join(rows))
    answer = client.predict(
        handle_file(str(tmp_path / "short.csv")), "rows have no time", [], None, 6,
        api_name="/forecast",
    )  # fmt: skip
    assert "too short to say how sure" in answer[2]
    assert not any("of 100" in name for name in traces(answer[0]))
