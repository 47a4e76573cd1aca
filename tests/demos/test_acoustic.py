"""The tab of acoustics, asked as a visitor's own program asks it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

soundfile = pytest.importorskip("soundfile")

DOMAIN = "acoustic"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sounds") / "passage.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 3 * 16000), 16000)
    return path


def test_a_recording_is_recognised_by_segments_and_as_a_whole(client, sound):
    votes, chart, words, table, files = client.predict(
        handle_file(str(sound)), api_name="/recognise"
    )
    shares = {one["label"]: one["confidence"] for one in votes["confidences"]}
    assert set(shares) == {"high", "low"} and sum(shares.values()) == pytest.approx(1, abs=1e-3)
    panels = [one["text"] for one in json.loads(chart["plot"])["layout"]["annotations"]]
    assert panels == [
        "waveform",
        "what the model looks at",
        "probability of each class",
        "share of each expert",
    ]
    assert f"**{votes['label']}**" in words and "3 segments" in words
    assert "right in 75%" in words and "strongest for class" in words
    assert len(table["data"]) == 4  # three segments and the recording
    segments, raven = (
        pd.read_csv(file, sep=sep) for file, sep in zip(files, (",", "\t"), strict=True)
    )
    assert segments["level"].tolist() == ["segment"] * 3 + ["recording"]
    assert raven["Begin Time (s)"].tolist() == [0, 1, 2]


def test_mistakes_are_named(client, tmp_path):
    with pytest.raises(AppError, match="Choose a recording first"):
        client.predict(None, api_name="/recognise")
    (tmp_path / "notes.wav").write_text("no sound")
    with pytest.raises(AppError, match=r"^.?notes\.wav: is no sound file"):
        client.predict(handle_file(str(tmp_path / "notes.wav")), api_name="/recognise")
