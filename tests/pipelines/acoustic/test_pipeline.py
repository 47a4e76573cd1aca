from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import moe_apps
from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.prediction import request
from moe_apps.pipelines.run_folder import RunFolder

SEGMENTS = {"low": 2, "high": 3}


def test_a_run_tells_tones_apart(run: RunFolder) -> None:
    metrics = run.read_metrics()
    assert metrics["test"]["accuracy"] >= 0.75
    confusion = np.array(metrics["test"]["recording"]["confusion"])
    assert confusion.sum(axis=1).tolist() == [2, 2]
    assert metrics["test"]["accuracy"] == confusion.trace() / 4
    assert metrics["data"]["segments"]["test"] == 2 * SEGMENTS["low"] + 2 * SEGMENTS["high"]
    assert metrics["data"]["original_rates"] == [8000, 16000]
    assert {"majority", "logistic_regression_both", "svm_both", "svm_recording"} <= set(
        metrics["baselines"]
    )
    assert metrics["dense_twin"]["accuracy"] >= 0.5
    assert sum(metrics["routing"]["load"]) == pytest.approx(1)
    report = run.report_file.read_text(encoding="utf-8")
    assert "What was heard" in report and "Who answers for what" in report


def test_evaluate_repeats_the_run_and_judges_other_data(run: RunFolder, sounds: Path) -> None:
    again = moe_apps.evaluate(run.path)
    first = run.read_metrics()
    assert again["test"]["segment"]["confusion"] == first["test"]["segment"]["confusion"]
    assert again["test"]["ece"] == pytest.approx(first["test"]["ece"], abs=1e-4)
    other = moe_apps.evaluate(run.path, data=sounds)
    assert other["test"]["recording"]["count"] == 16
    assert other["data"]["split_by"].startswith("none")


def test_predictions_of_a_folder(run: RunFolder, sounds: Path, tmp_path: Path) -> None:
    found = moe_apps.predict(run.path, input=sounds, output=tmp_path / "answers.csv")
    table = pd.read_csv(tmp_path / "answers.csv")
    assert found["rows"] == len(table) == 8 * (2 + 1) + 8 * (3 + 1)
    recordings = table[table["level"] == "recording"].set_index("recording")
    assert recordings.loc["low/day3/λ3.WAV", "class"] == "low"
    assert recordings.loc["high/5.flac", "end"] == pytest.approx(3.2)
    segments = table[table["level"] == "segment"].groupby("recording")["p_low"].mean()
    np.testing.assert_allclose(segments, recordings["p_low"].loc[segments.index], atol=1e-5)
    assert (table[["p_high", "p_low"]].sum(axis=1) - 1).abs().max() < 1e-5
    assert table["expert"].between(0, 2).all()


def test_selection_table_of_raven(run: RunFolder, sounds: Path, tmp_path: Path) -> None:
    moe_apps.predict(run.path, input=sounds / "high/2.flac", output=tmp_path / "two.txt")
    table = pd.read_csv(tmp_path / "two.txt", sep="\t")
    assert table["Selection"].tolist() == [1, 2, 3]
    assert table["Begin Time (s)"].tolist() == [0, 1, 2]
    assert set(table["Class"]) == {"high"} and set(table["Begin File"]) == {"2.flac"}


def test_unlikely_answers_are_unknown(run: RunFolder, sounds: Path, tmp_path: Path) -> None:
    from moe_apps.pipelines.acoustic.prediction import named

    assert named(np.array([[0.6, 0.4], [0.5, 0.5]]), ("a", "b"), 0.55) == ["a", "unknown"]


def test_listening_says_what_predict_says(run: RunFolder, sounds: Path, tmp_path: Path) -> None:
    file = sounds / "high/1.flac"
    heard = list(moe_apps.listen(run.path, file=file, pace=0))
    moe_apps.predict(run.path, input=file, output=tmp_path / "one.csv")
    table = pd.read_csv(tmp_path / "one.csv")
    segments = table[table["level"] == "segment"]
    assert [one["class"] for one in heard] == segments["class"].tolist()
    confidence = [one["confidence"] for one in heard]
    np.testing.assert_allclose(confidence, segments["confidence"], atol=1e-4)
    assert [one["end"] for one in heard] == [1, 2, 3]


def test_listening_keeps_real_time(run: RunFolder, sounds: Path) -> None:
    import time

    answers = moe_apps.listen(run.path, file=sounds / "low/day0/λ0.WAV", pace=4.0)
    next(answers)
    started = time.monotonic()
    next(answers)
    assert 0.15 < time.monotonic() - started < 2


def test_the_saved_model_alone(run: RunFolder, sounds: Path, tmp_path: Path) -> None:
    """A process with nothing but TensorFlow gives the answers of `predict`."""
    file = sounds / "high/4.flac"
    inputs = request(run, file)
    np.save(tmp_path / "waveform.npy", inputs["waveform"])
    code = """
import sys, json, numpy, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
found = model.signatures["explain"](waveform=tf.constant(numpy.load(sys.argv[2])))
short = model.signatures["serving_default"](waveform=tf.constant(numpy.load(sys.argv[2])[:, :999]))
assert not any(name.startswith("moe_apps") for name in sys.modules)
print(json.dumps({
    "class": found["class"].numpy()[0].decode(),
    "probability": found["probability"].numpy().tolist(),
    "segments": found["segment_probability"].numpy().tolist(),
    "share": found["expert_share"].numpy().tolist(),
    "short": short["segment_probability"].shape.as_list(),
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.saved_model / "1"), str(tmp_path / "waveform.npy")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    moe_apps.predict(run.path, input=file, output=tmp_path / "four.csv")
    table = pd.read_csv(tmp_path / "four.csv")
    assert answer["class"] == table["class"].iloc[-1] == "high"
    columns = ["p_high", "p_low"]
    np.testing.assert_allclose(answer["segments"][0], table[columns].iloc[:-1], atol=1e-4)
    np.testing.assert_allclose(answer["probability"][0], table[columns].iloc[-1], atol=1e-4)
    assert sum(answer["share"][0]) == pytest.approx(1, abs=1e-5)
    assert answer["short"] == [1, 1, 2]


def test_a_card_says_rate_and_classes(run: RunFolder) -> None:
    card = json.loads((run.saved_model / "1" / "MODEL.json").read_text(encoding="utf-8"))
    assert card["sample_rate"] == 8000 and card["classes"] == ["high", "low"]


def test_mistakes_of_listening(run: RunFolder, sounds: Path) -> None:
    with pytest.raises(ConfigError, match="one of them"):
        moe_apps.listen(run.path, file=sounds / "high/1.flac", device="1")
    with pytest.raises(DataError, match="no such file"):
        moe_apps.listen(run.path, file=sounds / "absent.wav")


def test_noise_needs_the_tensorflow_backend() -> None:
    from moe_apps.pipelines.acoustic.data import check_backend_of_noise

    train = {"augmentation": {"noise_snr": [0, 20]}, "backend": "jax"}
    with pytest.raises(ConfigError, match="noise_snr"):
        check_backend_of_noise(AcousticConfig.model_validate({"train": train}))
