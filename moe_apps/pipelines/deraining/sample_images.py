"""Clean images that need no network: those inside three packages, and drawn scenes.

scikit-image ships astronaut and rocket (NASA, public domain), hubble_deep_field (NASA), chelsea,
coffee, camera, brick, grass and gravel (CC0); scikit-learn ships china.jpg and flower.jpg (CC BY
2.0, photographers: see README.txt beside them); matplotlib ships grace_hopper.jpg (US Navy, public
domain). They are read where they are installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from moe_apps.errors import DataError
from moe_apps.pipelines.deraining.image_files import read_picture

Part = Literal["train", "validation", "test"]
Image = npt.NDArray[np.uint8]

PHOTOGRAPHS: dict[Part, tuple[str, ...]] = {
    "train": (
        "skimage/data/astronaut.png",
        "skimage/data/rocket.jpg",
        "skimage/data/chelsea.png",
        "skimage/data/hubble_deep_field.jpg",
        "skimage/data/camera.png",
        "skimage/data/brick.png",
        "skimage/data/grass.png",
        "skimage/data/gravel.png",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    ),
    "validation": ("sklearn/datasets/images/flower.jpg",),
    "test": ("skimage/data/coffee.png", "sklearn/datasets/images/china.jpg"),
}
"""Whole photographs are held out: parts of one picture are too alike to test on."""

SCENES: dict[Part, int] = {"train": 24, "validation": 2, "test": 2}
"""Number of drawn scenes."""
SCENE_SEEDS: dict[Part, int] = {"train": 0, "validation": 100_000, "test": 200_000}
SCENE_SIZE = (320, 480)


@dataclass(frozen=True)
class CleanImage:
    """A clean image with a name.

    Attributes:
        name: File name, or `scene-7`.
        pixels: `[height, width, 3]` uint8.
        is_drawn: It is no photograph.
    """

    name: str
    pixels: Image
    is_drawn: bool = False


def sample_images(part: Part) -> list[CleanImage]:
    """Photographs and drawn scenes of one part; no picture is in two parts.

    Example:
        >>> [image.name for image in sample_images("test")]
        ['coffee.png', 'china.jpg', 'scene-200000', 'scene-200001']
    """
    images = [
        CleanImage(Path(name).name, read_picture(_file(name)).pixels) for name in PHOTOGRAPHS[part]
    ]
    first = SCENE_SEEDS[part]
    return images + [
        CleanImage(f"scene-{seed}", drawn_scene(seed), is_drawn=True)
        for seed in range(first, first + SCENES[part])
    ]


def _file(name: str) -> Path:
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / rest
        if path.is_file():
            return path
    raise DataError(
        f"the sample image {name} is not installed; run: pip install 'moe-apps[images]'"
    )


def drawn_scene(seed: int, size: tuple[int, int] = SCENE_SIZE) -> Image:
    """A street scene: sky with clouds, hills, houses with windows, trees and a road.

    Args:
        seed: which scene.
        size: height and width.

    Example:
        >>> drawn_scene(3, (48, 64)).shape
        (48, 64, 3)
    """
    random = np.random.default_rng(seed)
    height, width = size
    horizon = int(height * random.uniform(0.45, 0.65))
    canvas = _sky(height, width, random)
    _hills(canvas, horizon, random)
    _ground(canvas, horizon, random)
    for _ in range(random.integers(3, 9)):
        _house(canvas, horizon, random)
    for _ in range(random.integers(2, 9)):
        _tree(canvas, horizon, random)
    texture = (
        _noise((height, width), 1.0, random) * 0.02 + _noise((height, width), 3.0, random) * 0.02
    )
    smooth = cv2.GaussianBlur(canvas, (0, 0), 0.6)  # edges as sharp as a lens makes them
    return (np.clip(smooth + texture[..., None], 0, 1) * 255).round().astype(np.uint8)


def _noise(shape: tuple[int, int], sigma: float, random: np.random.Generator) -> npt.NDArray:
    """Smooth noise of unit deviation."""
    noise = cv2.GaussianBlur(random.normal(size=shape).astype(np.float32), (0, 0), sigma)
    return noise / max(float(noise.std()), 1e-6)


def _sky(height: int, width: int, random: np.random.Generator) -> npt.NDArray:
    top, bottom = random.uniform(0.2, 0.7, 3), random.uniform(0.5, 0.95, 3)
    ramp = np.linspace(0, 1, height)[:, None, None]
    clouds = np.clip(_noise((height, width), width / 20, random) * 0.15, 0, 0.4)[..., None]
    return ((1 - ramp) * top + ramp * bottom + clouds).astype(np.float32)


def _hills(canvas: npt.NDArray, horizon: int, random: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    for distance in (0.7, 0.45):
        line = _noise((1, width), width / 15, random)[0] * height * 0.05
        tops = horizon - height * 0.12 * distance + line
        hill = np.arange(height)[:, None] > tops[None]
        canvas[hill] = random.uniform(0.15, 0.5, 3) * distance + 0.2 * distance


def _ground(canvas: npt.NDArray, horizon: int, random: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    grain = _noise((height - horizon, width), 1.2, random)[..., None] * 0.06
    canvas[horizon:] = random.uniform(0.15, 0.55, 3) + grain
    middle, vanishing = width * random.uniform(0.3, 0.7), width * random.uniform(0.3, 0.7)
    half = width * random.uniform(0.2, 0.5)
    road = np.array([[vanishing, horizon], [middle + half, height], [middle - half, height]])
    cv2.fillPoly(canvas, [road.astype(np.int32)], (random.uniform(0.2, 0.5),) * 3)
    for start in np.arange(0.1, 1, 0.2):  # the dashed line in its middle
        ends = [
            (
                int(vanishing + (middle - vanishing) * t**2),
                int(horizon + (height - horizon) * t**2),
            )
            for t in (start, start + 0.1)
        ]
        cv2.line(canvas, ends[0], ends[1], (0.9, 0.9, 0.85), max(int(5 * start), 1))


def _house(canvas: npt.NDArray, horizon: int, random: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    wide, tall = random.integers(width // 12, width // 4), random.integers(height // 8, height // 2)
    left = random.integers(-wide // 2, width - wide // 2)
    bottom = horizon + random.integers(0, max(height // 12, 1))
    top = bottom - tall
    colour = tuple(random.uniform(0.15, 0.85, 3))
    cv2.rectangle(canvas, (left, top), (left + wide, bottom), colour, -1)
    if random.random() < 0.5:
        roof = np.array([[left, top], [left + wide, top], [left + wide // 2, top - tall // 4]])
        cv2.fillPoly(canvas, [roof.astype(np.int32)], tuple(random.uniform(0.1, 0.6, 3)))
    window, step = tuple(random.uniform(0, 1, 3)), int(random.integers(8, 18))
    for row in range(top + step // 2, bottom - step, step):
        for column in range(left + step // 2, left + wide - step // 2, step):
            corner = (column + step // 2, row + step // 2)
            cv2.rectangle(canvas, (column, row), corner, window, -1)


def _tree(canvas: npt.NDArray, horizon: int, random: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    x, foot = int(random.integers(0, width)), horizon + int(random.integers(0, height // 6))
    size = int(random.integers(height // 16, height // 5))
    trunk = tuple(random.uniform(0.1, 0.35, 3))
    cv2.line(canvas, (x, foot), (x, foot - 2 * size), trunk, max(size // 6, 1))
    green = random.uniform((0.05, 0.2, 0.05), (0.35, 0.6, 0.3))
    for _ in range(40):
        centre = (
            int(x + random.normal(scale=size / 2)),
            int(foot - 2 * size + random.normal(scale=size / 2)),
        )
        leaf = tuple(np.clip(green * random.uniform(0.6, 1.4), 0, 1))
        cv2.circle(canvas, centre, max(size // 6, 1), leaf, -1)
