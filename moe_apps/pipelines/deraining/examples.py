"""What models train on and are judged on: pairs of images, real or made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.deraining.pairs import Pair
from moe_apps.pipelines.deraining.sample_images import CleanImage
from moe_apps.pipelines.deraining.weather import Kind, Level, degrade, draw_weather

FloatArray = npt.NDArray[np.floating]
Image = npt.NDArray[np.uint8]
SMALLEST_SCALE = 0.4


@dataclass(frozen=True)
class Example:
    """A pair to judge by.

    Attributes:
        name: What it is called in tables.
        rainy, clean: `[height, width, 3]` uint8.
        labels: Factor to value, such as kind "streaks", level "heavy", group "Rain100L".
    """

    name: str
    rainy: Image
    clean: Image
    labels: Mapping[str, str] = field(default_factory=dict)


class TrainingPatches(Protocol):
    """Source of training patches: one for every number."""

    def patch(self, random: np.random.Generator, size: int) -> tuple[FloatArray, FloatArray]:
        """Degraded and clean patch `[size, size, 3]` in [0, 1], drawn by `random`."""


@dataclass(frozen=True)
class MadePatches:
    """Patches of clean images with weather that is drawn anew each time.

    Photographs and drawn scenes come equally often, however many there are of each: drawn scenes
    are smooth, and who sees little else takes fine detail for rain. Patches are reduced by up to
    `SMALLEST_SCALE` before the weather is added, for more of it.

    Attributes:
        images: clean images.
        kinds, levels: weather to draw from.
    """

    images: Sequence[CleanImage]
    kinds: tuple[Kind, ...]
    levels: tuple[Level, ...]

    def patch(self, random: np.random.Generator, size: int) -> tuple[FloatArray, FloatArray]:
        """Degraded and clean patch `[size, size, 3]` in [0, 1]."""
        group = self._groups[int(random.integers(len(self._groups)))]
        pixels = group[int(random.integers(len(group)))].pixels
        side = round(size / random.uniform(SMALLEST_SCALE, 1.0))
        padded = at_least(pixels, side)
        top, left = corner(padded.shape, side, random)
        part = padded[top : top + side, left : left + side]
        clean = unit(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA))
        height = padded.shape[0]
        weather = draw_weather(random, self.kinds, self.levels)
        made = degrade(
            clean,
            weather,
            random,
            scene_height=round(height * size / side),
            rows=(top / height, (top + side) / height),
        )
        # A degraded image has 8 bits in the world, too.
        return np.round(made.image * 255) / np.float32(255), clean

    @cached_property
    def _groups(self) -> list[list[CleanImage]]:
        photographs, scenes = (
            [image for image in self.images if image.is_drawn is drawn] for drawn in (False, True)
        )
        return [group for group in (photographs, scenes) if group]


@dataclass(frozen=True)
class RealPatches:
    """Patches of real pairs.

    Attributes:
        pairs: the pairs.
        read: reads degraded and clean pixels of a pair, in [0, 255] (or cached).
    """

    pairs: Sequence[Pair]
    read: Callable[[Pair], tuple[npt.NDArray[Any], npt.NDArray[Any]]]

    def patch(self, random: np.random.Generator, size: int) -> tuple[FloatArray, FloatArray]:
        """Degraded and clean patch `[size, size, 3]` in [0, 1]."""
        rainy, clean = self.read(self.pairs[int(random.integers(len(self.pairs)))])
        rainy, clean = at_least(rainy, size), at_least(clean, size)
        top, left = corner(rainy.shape, size, random)
        part = (slice(top, top + size), slice(left, left + size))
        return tuple(  # type: ignore[return-value]
            (image[part] / np.float32(np.iinfo(image.dtype).max)).astype(np.float32)
            for image in (rainy, clean)
        )


def unit(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """An 8-bit image in [0, 1]."""
    return (image / np.float32(255)).astype(np.float32)


def at_least(image: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The image, mirrored at its lower and right end where a side is shorter than `size`.

    Example:
        >>> at_least(np.zeros((3, 40, 3)), 16).shape
        (16, 40, 3)
    """
    missing = [(0, max(size - side, 0)) for side in image.shape[:2]]
    if not any(after for _, after in missing):
        return image
    # NumPy mirrors again and again where more is missing than there is.
    mode = "reflect" if min(image.shape[:2]) > 1 else "edge"
    return np.pad(image, (*missing, (0, 0)), mode=mode)  # type: ignore[call-overload]


def corner(shape: Sequence[int], size: int, random: np.random.Generator) -> tuple[int, int]:
    """Upper left corner of a square inside an image, drawn evenly."""
    top, left = (int(random.integers(side - size + 1)) for side in shape[:2])
    return top, left


def turned(image: npt.NDArray[Any], way: int) -> npt.NDArray[Any]:
    """One of the eight ways to turn and mirror a square image, 0 leaving it as it is.

    Example:
        >>> turned(np.arange(4).reshape(2, 2), 1).tolist()
        [[1, 3], [0, 2]]
    """
    image = np.rot90(image, way % 4)
    return image[:, ::-1] if way >= 4 else image


@dataclass(frozen=True)
class Examples:
    """All data of a run.

    Attributes:
        train: source of training patches.
        validation, test: pairs to judge by.
        train_count: clean images that training patches come from.
        protocol: name of the protocol of PSNR and SSIM.
        source: where they are from.
        notes: what was found and done.
    """

    train: TrainingPatches
    validation: Sequence[Example]
    test: Sequence[Example]
    train_count: int
    protocol: str
    source: str
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash of validation and test pixels and names."""
        found = hashlib.sha256()
        for example in (*self.validation, *self.test):
            found.update(example.name.encode())
            found.update(np.ascontiguousarray(example.rainy).tobytes())
            found.update(np.ascontiguousarray(example.clean).tobytes())
        return found.hexdigest()[:16]
