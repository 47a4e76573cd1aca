"""Synthetic weather on clean images, with the record of what was added.

Images are gamma-encoded values in [0, 1], as in the public data sets. The image models are those of
their papers: added or screened streaks (Rain12, Rain100L; DDN), accumulation behind haze (Yang et
al. 2017, "Deep Joint Rain Detection and Removal", arXiv 1609.07769; Li et al. 2019, "Heavy Rain
Image Restoration", arXiv 1904.05050), drops (Qian et al. 2018, "Attentive GAN for Raindrop
Removal", arXiv 1711.10098), snow (Liu et al. 2018, "DesnowNet", arXiv 1708.04512).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from moe_apps.pipelines.deraining.weather_layers import (
    REFERENCE_HEIGHT,
    Flakes,
    FloatArray,
    Streaks,
    drops,
    flake_map,
    haze,
    pseudo_depth,
    streak_map,
)

Kind = Literal["streaks", "drops", "snow", "haze", "accumulation"]
Level = Literal["light", "medium", "heavy"]
Mode = Literal["additive", "screen"]

KINDS: tuple[Kind, ...] = get_args(Kind)
LEVELS: tuple[Level, ...] = get_args(Level)

STREAKS: dict[Level, tuple[Streaks, ...]] = {
    "light": (Streaks(0.0008, 18, 1.0, 0.9),),
    "medium": (Streaks(0.002, 22, 1.1, 0.9), Streaks(0.002, 14, 0.8, 0.6)),
    "heavy": (
        Streaks(0.004, 30, 1.3, 1.1, 1.5),
        Streaks(0.006, 24, 1.1, 0.9),
        Streaks(0.01, 14, 0.8, 0.6),
    ),
}
SNOW: dict[Level, tuple[Flakes, ...]] = {
    "light": (Flakes(0.002, 1, 1, 0.9),),
    "medium": (Flakes(0.002, 1, 1, 0.9), Flakes(0.0006, 2.5, 5, 0.9)),
    "heavy": (
        Flakes(0.003, 1, 3, 0.8),
        Flakes(0.001, 2.5, 7, 0.9),
        Flakes(0.00012, 6, 11, 0.85),
    ),
}
DROPS: dict[Level, int] = {"light": 40, "medium": 120, "heavy": 250}
"""Drops on an image of 480 x 720 pixels."""
HAZE: dict[Level, tuple[float, float]] = {
    "light": (0.3, 0.8),
    "medium": (1.0, 2.0),
    "heavy": (2.6, 4.6),
}
"""Range of beta on relative depth."""
DROPS_AREA = 480 * 720
SNOW_COLOUR = np.array([0.95, 0.97, 1.0], np.float32)


@dataclass(frozen=True)
class Weather:
    """What kind of weather, and how much of it.

    Attributes:
        kind: streaks, drops, snow, haze, or accumulation (streaks behind haze).
        level: light, medium or heavy.
        mode: how streaks join the image: "additive", or "screen", which saturates.
        angle: degrees from the vertical; None draws one from -45 to 45.
        beta: density of the haze; None draws one from the level's range.
        jitter: vary density and length by up to a third; False keeps the level's own numbers.
    """

    kind: Kind = "streaks"
    level: Level = "medium"
    mode: Mode = "additive"
    angle: float | None = None
    beta: float | None = None
    jitter: bool = True


@dataclass(frozen=True)
class Degraded:
    """An image with weather, and what was done to it.

    Attributes:
        image: `[height, width, 3]` in [0, 1].
        mask: `[height, width]` in [0, 1], where the weather covers the image.
        record: kind, level, mode, angle, density, beta, cover (mean of the mask).
    """

    image: FloatArray
    mask: FloatArray
    record: dict[str, Any]


def degrade(
    image: FloatArray,
    weather: Weather,
    random: np.random.Generator,
    *,
    scene_height: int | None = None,
    rows: tuple[float, float] = (0.0, 1.0),
) -> Degraded:
    """Add weather to a clean image.

    The same generator state gives the same result.

    Args:
        image: `[height, width, 3]` in [0, 1].
        weather: what to add.
        random: source of everything random.
        scene_height: height in pixels of the scene that the image is cut from, by which lengths
            scale (they are given for 480); None for the image's own, at least 240.
        rows: part of the scene's height that the image shows, for haze; 0 is the top.

    Example:
        >>> clean = np.full((64, 64, 3), 0.5, np.float32)
        >>> made = degrade(clean, Weather("streaks", "heavy"), np.random.default_rng(0))
        >>> made.record["kind"], bool(made.image.mean() > clean.mean())
        ('streaks', True)
    """
    scale = max(scene_height or image.shape[0], REFERENCE_HEIGHT // 2) / REFERENCE_HEIGHT
    angle = random.uniform(-45, 45) if weather.angle is None else weather.angle
    vary = random.uniform(2 / 3, 4 / 3) if weather.jitter else 1.0
    record: dict[str, Any] = {**asdict(weather), "angle": float(angle), "density": float(vary)}
    del record["jitter"]
    if weather.kind == "drops":
        count = DROPS[weather.level] * vary * image.shape[0] * image.shape[1]
        drawn = random.poisson(count / (DROPS_AREA * scale**2))
        degraded, mask = drops(image, int(drawn), scale, random)
    elif weather.kind == "snow":
        mask = _union(
            flake_map(_scaled_flakes(layer, scale, vary), image.shape[:2], angle, random)
            for layer in SNOW[weather.level]
        )
        degraded = mask[..., None] * SNOW_COLOUR + (1 - mask[..., None]) * image
    else:
        degraded, mask = image, np.zeros(image.shape[:2], np.float32)
        if weather.kind in ("streaks", "accumulation"):
            degraded, mask = _with_streaks(image, weather, angle, vary, scale, random)
        if weather.kind in ("haze", "accumulation"):
            low, high = HAZE[weather.level]
            beta = random.uniform(low, high) if weather.beta is None else weather.beta
            depth = pseudo_depth(image.shape[:2], random, rows)
            degraded = haze(degraded, depth, beta, _air(random))
            mask = 1 - (1 - mask) * np.exp(-beta * depth)
            record["beta"] = float(beta)
    record["cover"] = float(mask.mean())
    degraded = np.clip(degraded, 0, 1).astype(np.float32)
    return Degraded(degraded, np.clip(mask, 0, 1).astype(np.float32), record)


def draw_weather(
    random: np.random.Generator, kinds: tuple[Kind, ...] = KINDS, levels: tuple[Level, ...] = LEVELS
) -> Weather:
    """Any of the kinds and levels, streaks in either mode.

    Example:
        >>> draw_weather(np.random.default_rng(0), ("snow",)).kind
        'snow'
    """
    kind = kinds[random.integers(len(kinds))]
    level = levels[random.integers(len(levels))]
    return Weather(kind, level, "screen" if random.random() < 0.5 else "additive")


def _with_streaks(
    image: FloatArray,
    weather: Weather,
    angle: float,
    vary: float,
    scale: float,
    random: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    layers = []
    for layer in STREAKS[weather.level]:
        scaled = Streaks(
            # As many streaks on a scene of any size.
            layer.density * vary / scale**2 if scale > 1 else layer.density * vary,
            layer.length * scale * (random.uniform(2 / 3, 4 / 3) if weather.jitter else 1.0),
            layer.width * max(scale, 0.7),
            layer.gain,
            layer.scale,
        )
        drawn = streak_map(scaled, image.shape[:2], angle, random)
        if layer.scale > 1:  # near streaks are a little out of focus
            drawn = cv2.GaussianBlur(drawn, (0, 0), 0.5)
        layers.append(drawn)
    mask = _union(layers)
    bright = mask[..., None] * np.float32(random.uniform(0.7, 0.9) if weather.jitter else 0.8)
    if weather.mode == "screen":
        return 1 - (1 - image) * (1 - bright), mask
    return image + bright, mask


def _scaled_flakes(layer: Flakes, scale: float, vary: float) -> Flakes:
    return Flakes(
        layer.density * vary / max(scale, 1.0) ** 2,
        layer.radius * max(scale, 0.7),
        layer.blur * scale,
        layer.opacity,
    )


def _air(random: np.random.Generator) -> FloatArray:
    light = random.uniform(0.7, 0.95) + random.normal(scale=0.02, size=3)
    return np.clip(light, 0, 1).astype(np.float32)


def _union(layers: Any) -> FloatArray:
    """`1 - prod(1 - layer)`."""
    clear: Any = 1.0
    for layer in layers:
        clear = clear * (1 - layer)
    return (1 - clear).astype(np.float32)
