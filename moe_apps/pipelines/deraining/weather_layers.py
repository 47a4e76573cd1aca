"""Single layers of weather: rain streaks, snow flakes, drops on the lens, haze with depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

REFERENCE_HEIGHT = 480
"""Height of the image that lengths in pixels are given for."""


@dataclass(frozen=True)
class Streaks:
    """Rain of one distance.

    Attributes:
        density: share of pixels in which a streak begins.
        length: pixels along a streak.
        width: standard deviation across it, in half pixels.
        gain: how bright a streak is.
        scale: enlargement after drawing; near streaks are large and soft.
    """

    density: float
    length: float
    width: float
    gain: float
    scale: float = 1.0


@dataclass(frozen=True)
class Flakes:
    """Snow of one distance: soft discs, smeared by their fall.

    Attributes:
        density: share of pixels in which a flake lies.
        radius: pixels.
        blur: length of the smear in pixels; 1 is none.
        opacity: of its middle.
    """

    density: float
    radius: float
    blur: float
    opacity: float


def streak_map(
    layer: Streaks, shape: tuple[int, int], angle: float, random: np.random.Generator
) -> FloatArray:
    """Brightness `[height, width]` in [0, 1] that the streaks of a layer add.

    Args:
        layer: density, size and strength of the streaks.
        shape: height and width.
        angle: degrees from the vertical, positive to the right on the way down.
        random: where the streaks are.
    """
    height, width = (max(int(np.ceil(side / layer.scale)), 1) for side in shape)
    length = max(round(layer.length), 2)
    # Streaks that begin outside reach into the image.
    seeds = _points((height + 2 * length, width + 2 * length), layer.density, random)
    kernel = segment(length, angle + random.uniform(-3, 3), layer.width)
    drawn = cv2.filter2D(seeds, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    drawn = drawn[length : length + height, length : length + width]
    bright = np.clip(length * layer.gain * drawn, 0, 1)
    if layer.scale != 1:
        bright = cv2.resize(bright, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return bright.astype(np.float32)


def segment(length: int, angle: float, width: float) -> FloatArray:
    """A kernel with a straight segment through its middle, of sum 1.

    Example:
        >>> kernel = segment(9, 0.0, 1.0)
        >>> kernel.shape, round(float(kernel.sum()), 4), int(kernel.sum(axis=0).argmax())
        ((11, 11), 1.0, 5)
    """
    half = length // 2 + 1
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    radians = np.deg2rad(angle)
    along = rows * np.cos(radians) + columns * np.sin(radians)
    across = columns * np.cos(radians) - rows * np.sin(radians)
    profile = np.exp(-((across / (0.5 * width)) ** 2) / 2)
    kernel = profile * np.clip(length / 2 + 0.5 - np.abs(along), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def flake_map(
    layer: Flakes, shape: tuple[int, int], angle: float, random: np.random.Generator
) -> FloatArray:
    """Opacity `[height, width]` in [0, 1] of a layer of snow."""
    margin = int(np.ceil(layer.radius + layer.blur)) + 1
    seeds = _points((shape[0] + 2 * margin, shape[1] + 2 * margin), layer.density, random)
    reach = int(np.ceil(layer.radius)) + 1
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(layer.radius + 0.5 - np.hypot(rows, columns), 0, 1).astype(np.float32)
    drawn = cv2.filter2D(seeds, -1, disc, borderType=cv2.BORDER_CONSTANT)
    if layer.blur > 1:
        length = max(round(layer.blur), 2)
        smear = segment(length, angle, 1.5)
        drawn = cv2.filter2D(drawn, -1, smear, borderType=cv2.BORDER_CONSTANT)
    drawn = cv2.GaussianBlur(drawn, (0, 0), 0.5)
    inner = drawn[margin : margin + shape[0], margin : margin + shape[1]]
    return np.clip(layer.opacity * inner, 0, 1).astype(np.float32)


def _points(shape: tuple[int, int], density: float, random: np.random.Generator) -> FloatArray:
    """Strengths of 0.4 to 1 in a share of the pixels, 0 elsewhere."""
    points = np.zeros(shape, np.float32)
    count = random.binomial(points.size, min(density, 1.0))
    where = random.integers(points.size, size=count)
    points.reshape(-1)[where] = random.uniform(0.4, 1.0, size=count)
    return points


def drops(
    image: FloatArray, count: int, scale: float, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """An image seen through drops on the lens, and where they are.

    Each drop shows the blurred scene around it upside down and in wide angle, brightened a
    little.

    Args:
        image: `[height, width, 3]` in [0, 1].
        count: number of drops.
        scale: factor of their radius of 4 to 18 pixels.
        random: where the drops are, and how large.

    Returns:
        the image, and opacity `[height, width]` of the drops.
    """
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    map_x, map_y = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    for _ in range(count):
        radius = scale * np.exp(random.uniform(np.log(4), np.log(18)))
        ratio = random.uniform(1.0, 1.4)
        centre_y, centre_x = random.uniform(0, height), random.uniform(0, width)
        tall, wide = radius * ratio, radius
        top, bottom = max(int(centre_y - tall), 0), min(int(centre_y + tall) + 2, height)
        left, right = max(int(centre_x - wide), 0), min(int(centre_x + wide) + 2, width)
        if top >= bottom or left >= right:
            continue
        rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
        squared = ((rows - centre_y) / tall) ** 2 + ((columns - centre_x) / wide) ** 2
        opacity = np.clip(3 * (1 - squared), 0, 1)
        magnification = 6 * (1 - np.sqrt(np.clip(1 - squared, 0, 1)) / 2)
        part = (slice(top, bottom), slice(left, right))
        over = opacity > mask[part]
        map_y[part][over] = (centre_y - magnification * (rows - centre_y))[over]
        map_x[part][over] = (centre_x - magnification * (columns - centre_x))[over]
        mask[part] = np.maximum(mask[part], opacity)
    blurred = cv2.GaussianBlur(image, (0, 0), random.uniform(2, 4))
    seen = cv2.remap(
        blurred, map_x, map_y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    mask = cv2.GaussianBlur(mask, (0, 0), 1.2)
    opaque = mask[..., None]
    inside = np.clip(0.9 * seen + 0.06, 0, 1)
    return ((1 - opaque) * image + opaque * inside).astype(np.float32), mask


def pseudo_depth(
    shape: tuple[int, int],
    random: np.random.Generator,
    rows: tuple[float, float] = (0.0, 1.0),
) -> FloatArray:
    """Relative distance `[height, width]`: 1 at the top of the scene, 0.1 at the bottom, uneven.

    Args:
        shape: height and width.
        random: the unevenness.
        rows: which part of the scene's height the image shows, from 0 (top) to 1.
    """
    height, width = shape
    ramp = np.linspace(1 - 0.9 * rows[0], 1 - 0.9 * rows[1], height, dtype=np.float32)
    coarse = random.normal(size=(max(height // 32, 2), max(width // 32, 2))).astype(np.float32)
    uneven = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(ramp[:, None] + 0.1 * uneven, 0.02, 1.2).astype(np.float32)


def haze(image: FloatArray, depth: FloatArray, beta: float, air: FloatArray) -> FloatArray:
    """An image behind scattering air: `t image + (1 - t) air` with `t = exp(-beta depth)`.

    Args:
        image: `[height, width, 3]`.
        depth: `[height, width]`.
        beta: density of the air.
        air: `[3]`, its light.
    """
    transmission = np.exp(-beta * depth)[..., None]
    return (transmission * image + (1 - transmission) * air).astype(np.float32)
