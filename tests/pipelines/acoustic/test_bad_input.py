from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import moe_apps
from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.recordings import find_recordings
from moe_apps.pipelines.acoustic.sound_files import mono_blocks, sound_facts
from moe_apps.pipelines.acoustic.spectra_file import read_spectra
from moe_apps.pipelines.run_folder import RunFolder

Write = Callable[..., Path]


@pytest.fixture
def bad(tmp_path: Path, write_sound: Write) -> dict[str, Path]:
    """Files that are wrong, each in its own way."""
    good = write_sound(tmp_path / "good.wav", np.zeros(8000, np.float32) + 0.1)
    whole = good.read_bytes()
    files = {name: tmp_path / f"{name}.wav" for name in ("text", "header", "empty", "no_frames")}
    files["text"].write_text("this is a letter")
    files["header"].write_bytes(b"RIFX" + whole[4:30])
    files["empty"].write_bytes(b"")
    write_sound(files["no_frames"], np.zeros(0, np.float32))
    samples = np.zeros(8000, np.float32)
    samples[4000] = np.nan
    files["nan"] = write_sound(tmp_path / "nan.wav", samples, subtype="FLOAT")
    return files


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "no sound file"),
        ("header", "no sound file|holds no samples"),
        ("empty", "is empty"),
        ("no_frames", "holds no samples"),
        ("nan", r"NaN or infinity at 0\.500 s"),
    ],
)
def test_a_bad_file_is_named(kind: str, message: str, bad: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=message) as error:
        list(mono_blocks(bad[kind], 8000))
    assert str(bad[kind]) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files_of_a_folder_are_skipped_and_noted(
    bad: dict[str, Path], run: RunFolder, tmp_path: Path
) -> None:
    found = moe_apps.predict(run.path, input=tmp_path, output=tmp_path / "answers.csv")
    assert len(found["notes"]) == len(bad)
    assert found["rows"] == 2  # good.wav: a segment and the recording
    recordings, notes = find_recordings(tmp_path)
    assert [one.name for one in recordings] == ["good.wav", "nan.wav"]  # NaN is seen when read
    assert len(notes) == 4
    with pytest.raises(DataError):
        find_recordings(tmp_path, strict=True)


def test_nothing_is_written_for_data_that_cannot_be_used(
    tmp_path: Path, write_sound: Write
) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    for number in range(5):
        write_sound(tmp_path / f"data/many/{number}.wav", sound)
    write_sound(tmp_path / "data/one/a.wav", sound)
    with pytest.raises(DataError, match=r"fewer than 3 recordings.*one \(1\)"):
        moe_apps.train(
            "acoustic",
            data=tmp_path / "data",
            output=tmp_path / "run",
            set=["data.sample_rate=8000", "data.segment=1"],
        )
    assert not (tmp_path / "run").exists()


def test_folders_without_sounds_or_classes(tmp_path: Path, write_sound: Write) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="no sound files"):
        find_recordings(tmp_path)
    write_sound(tmp_path / "a.wav", np.zeros(800, np.float32))
    with pytest.raises(DataError, match=r"a\.wav is in no class"):
        moe_apps.train("acoustic", data=tmp_path, output=tmp_path / "run")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label": np.zeros(3)}, "no spectra"),
        ({"x": np.ones((3, 5)), "label": np.zeros(2)}, "label has shape"),
        ({"x": np.ones((3, 5))}, "no array label"),
        ({"x": np.full((3, 5), -1.0), "label": np.zeros(3)}, r"x\[0, 0\] is -1"),
        ({"x": np.ones((2, 5)), "label": np.zeros(2), "id": ["a", "a"]}, "more than once"),
    ],
)
def test_bad_spectra(arrays: dict, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_spectra(tmp_path / "a.npz")


def test_code_in_spectra_is_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([[object()]]), label=np.zeros(1))
    with pytest.raises(DataError, match="plain arrays"):
        read_spectra(tmp_path / "a.npz")


@pytest.mark.slow
def test_three_hours_in_a_gigabyte(run: RunFolder, tmp_path: Path, write_sound: Write) -> None:
    soundfile = pytest.importorskip("soundfile")
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * 8000).astype(np.float32)
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 8000, 1) as file:
        for _ in range(180):
            file.write(noise)
    assert sound_facts(tmp_path / "long.flac").seconds == 3 * 3600
    write_sound(tmp_path / "short.wav", noise[:16000], 8000)
    most = {name: _most_memory(run, tmp_path / name) for name in ("short.wav", "long.flac")}
    assert most["long.flac"] < 1_000_000  # kilobytes, of which TensorFlow alone takes most
    assert most["long.flac"] - most["short.wav"] < 100_000


def _most_memory(run: RunFolder, file: Path) -> int:
    """Kilobytes that a process ever held that predicts a file."""
    # Not `ru_maxrss`: a new process starts with that of the one that made it.
    code = (
        "import sys, moe_apps; moe_apps.predict(sys.argv[1], input=sys.argv[2], "
        "output=sys.argv[3]); print(open('/proc/self/status').read())"
    )
    arguments = [str(run.path), str(file), str(file.with_suffix(".csv"))]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("VmHWM:")[1].split()[0])
