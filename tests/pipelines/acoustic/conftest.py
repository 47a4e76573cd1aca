from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import moe_apps
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.run_folder import RunFolder

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

RATE = 8000
SETTINGS = (
    "data.sample_rate=8000",
    "data.segment=1.0",
    "features.bands=16",
    "features.frame_ms=32",
    "features.hop_ms=16",
    "features.time_pool=4",
    "features.f_min=50",
    "features.demon_settings.sub_bands=2",
    "model.front_end=tiny",
    "model.num_experts=3",
    "model.demon_units=8",
    "train.epochs=20",
    "train.batch_size=8",
    "train.learning_rate=0.003",
)
"""Settings of a run that takes seconds."""


def tone(frequency: float, seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone over noise."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=time.size)
    return (0.3 * np.sin(2 * np.pi * frequency * time) + 0.05 * noise).astype(np.float32)


@pytest.fixture(scope="session")
def write_sound() -> Callable[..., Path]:
    """Writes samples `[n]` or `[n, channels]`; the format goes by the suffix."""

    def write(path: Path, samples: np.ndarray, rate: int = RATE, **settings: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, **settings)
        return path

    return write


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory, write_sound: Callable[..., Path]) -> Path:
    """Two classes of tones: nested folders, capitals, two rates, two channels, Greek names."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(8):
        low, high = 300 + 20 * number, 1500 + 50 * number
        write_sound(folder / f"low/day{number}/λ{number}.WAV", tone(low, 2.5, seed=number))
        both = np.stack([tone(high, 3.2, 16000, seed=number)] * 2, axis=1)
        write_sound(folder / f"high/{number}.flac", both, 16000)
    (folder / "notes.txt").write_text("not a sound")
    return folder


@pytest.fixture(scope="session")
def run(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A trained run on `sounds`."""
    output = tmp_path_factory.mktemp("runs") / "run"
    moe_apps.train("acoustic", data=sounds, set=SETTINGS, output=output, seed=1)
    return RunFolder.open(output)


@pytest.fixture(scope="session")
def config(run: RunFolder) -> AcousticConfig:
    return run.read_config(AcousticConfig)
