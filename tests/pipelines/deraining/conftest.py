from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """An 8-bit RGB image with structure, the same for the same seed."""

    def make(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
        random = np.random.default_rng(seed)
        rows, columns = np.mgrid[:height, :width]
        waves = 128 + 60 * np.sin(rows / 5 + seed)[..., None] * np.cos(
            columns[..., None] / np.array([4, 6, 8])
        )
        noise = random.normal(scale=12, size=(height, width, 3))
        return np.clip(waves + noise, 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def save() -> Callable[..., Path]:
    """Write an array as an image file, folders included, and return the path."""

    def write(path: Path, pixels: np.ndarray, **settings) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **settings)
        return path

    return write


@pytest.fixture(scope="session")
def rain_data(shared_data) -> Path:
    folder = shared_data / "deraining"
    if not folder.is_dir():
        pytest.skip(f"no deraining images in {folder}")
    return folder
