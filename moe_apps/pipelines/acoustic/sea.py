"""What the sea does to a ship's noise: paths over surface and bottom, and noise of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from moe_apps.pipelines.acoustic.ship_noise import LOWEST, amplitude, coloured, frequencies
from moe_apps.pipelines.acoustic.source_spectrum import absorption, ambient_spectrum

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]

SOUND_SPEED = 1490.0
BLOCK_SECONDS = 0.25
"""The channel changes from block to block."""


@dataclass(frozen=True)
class Sea:
    """One place on one day.

    Attributes:
        depth: of the water, m.
        receiver: depth of the hydrophone, m.
        wind: m/s.
        shipping: 0 to 1, how busy the sea is far away.
        bottom: share of pressure that the bottom reflects.
        rain: dB, by how much rain raises the noise above 1 kHz; 0 for none.
    """

    depth: float
    receiver: float
    wind: float
    shipping: float
    bottom: float
    rain: float


def draw_sea(rng: np.random.Generator) -> Sea:
    """A sea of 40 to 200 m.

    >>> 40 <= draw_sea(np.random.default_rng(0)).depth <= 200
    True
    """
    depth = rng.uniform(40, 200)
    return Sea(
        depth=depth,
        receiver=rng.uniform(10, min(60, depth - 5)),
        wind=rng.uniform(0, 15),
        shipping=rng.uniform(0, 1),
        bottom=rng.uniform(0.2, 0.6),
        rain=rng.uniform(3, 12) if rng.random() < 0.15 else 0.0,
    )


def ranges_of_passage(
    closest: float, speed: float, start: float, seconds: float, step: float = BLOCK_SECONDS
) -> Floats:
    """Horizontal distance of a ship that passes on a straight line, at the middle of each block.

    Args:
        closest: least distance, m.
        speed: m/s.
        start: seconds from the closest point at which the recording begins; negative: before.
        seconds: length of the recording.
        step: seconds from block to block.

    Example:
        >>> ranges_of_passage(300, 10, -40.0, 0.5).round(1).tolist()
        [499.0, 497.0, 495.0]
    """
    times = start + step * (np.arange(int(np.ceil(seconds / step)) + 1) + 0.5)
    return np.hypot(closest, speed * times)


def transfer(
    frequency: Floats, distance: Floats, sea: Sea, source: float
) -> npt.NDArray[np.complex64]:
    """Factor `[blocks, frequencies]` of the pressure at 1 m, by the image method.

    Four paths: direct, over the surface, over the bottom, over bottom and surface. The delay of
    the direct path is left out. Beyond the water's depth, spreading is cylindrical.

    Args:
        frequency: Hz.
        distance: horizontal, m, `[blocks]`.
        sea: the place.
        source: depth of the source, m.
    """
    heights = np.array(
        [
            source - sea.receiver,
            source + sea.receiver,
            2 * sea.depth - source - sea.receiver,
            2 * sea.depth + source - sea.receiver,
        ]
    )
    paths = np.hypot(distance[:, None], heights)  # (blocks, 4)
    wave = (2 * np.pi / SOUND_SPEED * frequency).astype(np.float32)
    rough = -2 * np.square(wave * np.float32(0.05 + 0.02 * sea.wind))
    near = np.minimum(paths, sea.depth)
    # Spherical up to the water's depth, cylindrical beyond.
    spread = 1 / (near * np.sqrt(paths / near))
    total = np.zeros((len(distance), len(frequency)), np.complex64)
    turn = np.empty(total.shape, np.complex64)
    for number, bounces in enumerate((1.0, -1.0, sea.bottom, -sea.bottom)):
        delay = (paths[:, number] - paths[:, 0]).astype(np.float32)
        factor = np.broadcast_to((bounces * spread[:, number, None]).astype(np.float32), turn.shape)
        if number % 2:  # over the surface, which scatters short waves
            sine = (np.abs(heights[number]) / paths[:, number]).astype(np.float32)
            factor = factor * np.exp(np.square(sine)[:, None] * rough)
        angle = -delay[:, None] * wave
        turn.real, turn.imag = np.cos(angle) * factor, np.sin(angle) * factor
        total += turn
    loss = (absorption(frequency) * (-np.log(10) / 20)).astype(np.float32)
    return total * np.exp((paths[:, :1] / 1000).astype(np.float32) * loss)


def through_channel(
    pressure: Samples, distance: Floats, sea: Sea, source: float, sample_rate: int
) -> Samples:
    """What arrives of a pressure at 1 m, block by block with Hann windows that overlap by half.

    Args:
        pressure: `[samples]`, uPa.
        distance: m, one for each block of `BLOCK_SECONDS`, and one more; or one for all.
        sea: the place.
        source: depth of the source, m.
        sample_rate: Hz.
    """
    hop = round(BLOCK_SECONDS * sample_rate)
    longest = 2 * (sea.depth + source) / SOUND_SPEED
    size = scipy.fft.next_fast_len(2 * hop + int(longest * sample_rate) + 1, real=True)
    window = np.hanning(2 * hop + 1)[:-1].astype(np.float32)
    blocks = -(-len(pressure) // hop) + 1
    padded = np.zeros((blocks + 1) * hop, np.float32)
    padded[hop : hop + len(pressure)] = pressure
    frames = np.stack([padded[n * hop : (n + 2) * hop] for n in range(blocks)]) * window
    spectra = scipy.fft.rfft(frames, size, axis=1)
    frequency = frequencies(size, sample_rate)
    spectra *= transfer(frequency, np.resize(distance, blocks), sea, source)
    parts = scipy.fft.irfft(spectra, size, axis=1)
    total = np.zeros((blocks - 1) * hop + size, np.float32)
    for number, part in enumerate(parts):
        total[number * hop : number * hop + size] += part
    return total[hop : hop + len(pressure)]


def ambient_noise(sea: Sea, samples: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Noise of the sea itself in uPa: Wenz spectrum, rain, and some snapping clicks."""
    frequency = frequencies(samples, sample_rate)
    level = ambient_spectrum(np.maximum(frequency, LOWEST), sea.shipping, sea.wind)
    if sea.rain:
        level = level + sea.rain / (1 + (1000 / frequency) ** 2)
    level[frequency < LOWEST] = -100
    noise = scipy.fft.irfft(coloured(amplitude(level), samples, sample_rate, rng), samples)
    clicks = rng.poisson(rng.uniform(0, 2) * samples / sample_rate)
    strength = float(noise.std())
    for place in rng.integers(0, samples, clicks):
        length = min(int(0.002 * sample_rate), samples - place)
        decay = np.exp(-np.arange(length) / (0.0004 * sample_rate))
        burst = rng.standard_normal(length) * decay * strength * rng.uniform(2, 8)
        noise[place : place + length] += burst.astype(np.float32)
    return noise.astype(np.float32)
