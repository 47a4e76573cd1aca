"""The noise of a ship at 1 m: a broad spectrum that cavitation modulates, and tones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from moe_apps.pipelines.acoustic.ships import SUB_TYPES, Ship
from moe_apps.pipelines.acoustic.source_spectrum import ship_spectrum

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]

ENVELOPE_RATE = 1000
"""Hz: the modulation has no frequencies above 3 blades x 6 x 7.5 Hz."""
LOWEST = 5.0
"""Hz, below which there is no noise: recorders have a high-pass there."""
MODULATION_FLOOR = 0.05
ORDERS = 60
"""Harmonics of an engine, at most."""


def amplitude(level: Floats) -> Samples:
    """`10^(level / 20)` in single precision.

    >>> amplitude(np.array([0.0, 20.0])).round(4).tolist()
    [1.0, 10.0]
    """
    return np.exp((level * (np.log(10) / 20)).astype(np.float32))


def coloured(
    density: Samples, samples: int, sample_rate: int, rng: np.random.Generator
) -> npt.NDArray[np.complex64]:
    """Half spectrum of Gaussian noise with a given spectrum.

    Args:
        density: `[samples // 2 + 1]`, root of the power in a Hz.
        samples: of the noise.
        sample_rate: Hz.
        rng: random numbers.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> density = np.full(5001, 1000, np.float32)
        >>> noise = scipy.fft.irfft(coloured(density, 10000, 1000, rng), 10000)
        >>> round(10 * np.log10(noise.var() / 500))  # 60 dB over 500 Hz
        60
    """
    white = rng.standard_normal(2 * len(density), dtype=np.float32).view(np.complex64)
    spectrum = white * (density * np.float32(np.sqrt(sample_rate * samples / 4)))
    spectrum[0] = 0
    return spectrum


def frequencies(samples: int, sample_rate: int) -> Floats:
    """Frequencies of a half spectrum in Hz; the first, 0, is given as half a bin."""
    found = np.arange(samples // 2 + 1) * (sample_rate / samples)
    found[0] = sample_rate / samples / 2
    return found


def broad_level(ship: Ship, frequency: Floats) -> Floats:
    """Spectrum of one ship's noise without tones, dB re 1 uPa^2/Hz at 1 m."""
    vessel = SUB_TYPES[ship.sub_type].vessel
    level = ship_spectrum(frequency, vessel, ship.speed, ship.length)
    own = ship.level + ship.tilt * np.log2(np.maximum(frequency, LOWEST) / 1000)
    return np.where(frequency < LOWEST, -100.0, level + own)


def ship_noise(ship: Ship, samples: int, sample_rate: int, rng: np.random.Generator) -> Samples:
    """Pressure at 1 m in uPa, `[samples]`."""
    frequency = frequencies(samples, sample_rate)
    level = broad_level(ship, frequency)
    density = amplitude(level)
    above = 1 / (1 + (ship.crossover / frequency) ** 4)  # share of power that cavitation makes
    total = np.zeros(samples, np.float32)
    shafts = [1.0, 1.0 + ship.slip] if ship.twin else [1.0]
    for turn in shafts:
        swing = modulation(ship, turn, samples, sample_rate, rng)
        for share, depth in ((above, ship.modulation), (1 - above, ship.modulation / 3)):
            own = density * np.sqrt(share / len(shafts)).astype(np.float32)
            noise = scipy.fft.irfft(coloured(own, samples, sample_rate, rng), samples)
            total += np.maximum(1 + np.float32(depth) * swing, MODULATION_FLOOR) * noise
    total += scipy.fft.irfft(tones(ship, level, frequency, sample_rate, rng), samples)
    return total


def modulation(
    ship: Ship, turn: float, samples: int, sample_rate: int, rng: np.random.Generator
) -> Samples:
    """What modulates the noise of one propeller, with the power of a cosine.

    Harmonics k of the shaft's rate up to 3 times the blades', `exp(-0.25 k)` strong, 3 times so
    at multiples of the blades; the rate wanders by 0.2 %.
    """
    points = int(samples / sample_rate * ENVELOPE_RATE) + 2
    steps = rng.standard_normal(points)
    drift = 0.002 * np.cumsum(steps) / np.sqrt(points)
    turns = np.cumsum(ship.shaft * turn * (1 + drift)) / ENVELOPE_RATE
    orders = np.arange(1, 3 * ship.blades + 1)
    strength = np.exp(-0.25 * orders) * np.where(orders % ship.blades == 0, 3.0, 1.0)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    waves = np.cos(2 * np.pi * np.outer(orders, turns) + phases[:, None])
    swing = strength @ waves / np.sqrt(np.square(strength).sum())
    times = np.arange(samples) * (ENVELOPE_RATE / sample_rate)
    return np.interp(times, np.arange(points), swing).astype(np.float32)


def tones(
    ship: Ship, level: Floats, frequency: Floats, sample_rate: int, rng: np.random.Generator
) -> npt.NDArray[np.complex64]:
    """Half spectrum of the tones of blades, engine, generator sets and mains."""
    lines = _lines(ship, rng)
    samples = 2 * (len(frequency) - 1)
    spacing = sample_rate / samples
    spectrum = np.zeros(len(frequency), np.complex64)
    for tone, excess in lines:
        centre = round(tone / spacing)
        if not 0 < centre < len(frequency) - 1:
            continue
        width = 1e-4 * tone / spacing  # in bins
        reach = int(np.ceil(2 * width)) if width > 0.5 else 0
        bins = np.arange(max(centre - reach, 1), min(centre + reach, len(frequency) - 2) + 1)
        share = np.exp(-0.5 * np.square((bins - centre) / max(width, 0.5)))
        share /= np.sqrt(np.square(share).sum())
        amplitude = 10 ** ((level[centre] + excess) / 20) * samples / np.sqrt(2)
        turn = np.exp(2j * np.pi * rng.random(len(bins)))
        spectrum[bins] += (amplitude * share * turn).astype(np.complex64)
    return spectrum


def _lines(ship: Ship, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Frequency in Hz and excess over the spectrum around it in dB of each tone."""
    cavitating = 6.0 if ship.modulation > 0 else 0.0
    lines = [
        (k * ship.blades * ship.shaft, excess + cavitating)
        for k, excess in ((1, 10.0), (2, 6.0), (3, 2.0))
    ]
    electric = SUB_TYPES[ship.sub_type].engine == "electric"
    strongest = rng.uniform(5, 20) - (8 if electric else 0)
    # Rates of sets differ a little with their load.
    sets = ((ship.engine_rate, ship.cylinders, strongest), (ship.generator_rate, 6, 8.0))
    for base, cylinders, strength in sets:
        for order in range(1, ORDERS + 1):
            firing = 8.0 if order % cylinders == 0 else 0.0
            excess = strength - 0.12 * order + firing + rng.normal(0, 3)
            lines.append((order * base * (1 + rng.normal(0, 2e-4)), excess))
    lines += [(k * ship.mains, rng.uniform(3, 10)) for k in (1, 2, 3)]
    return lines
