"""Made recordings of ships that pass a hydrophone, with all that was drawn for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from moe_apps.pipelines.acoustic.config import GeneratorSettings
from moe_apps.pipelines.acoustic.sea import (
    Sea,
    ambient_noise,
    draw_sea,
    ranges_of_passage,
    through_channel,
)
from moe_apps.pipelines.acoustic.ship_noise import ship_noise
from moe_apps.pipelines.acoustic.ships import BACKGROUND, CLASSES, SUB_TYPES, draw_ship

Samples = npt.NDArray[np.float32]

KNOT = 0.514444
BAND = (50.0, 7500.0)
"""Hz, in which the signal-to-noise ratio is meant."""
CLOSEST = (150.0, 4000.0)
"""Metres, drawn evenly on a logarithmic scale."""


@dataclass(frozen=True)
class MadeRecording:
    """A made recording.

    Attributes:
        name: such as "cargo-0012".
        label: its class.
        waveform: `[samples]`, uPa.
        facts: what was drawn: sub_type, speed (knots), length (m), shaft (Hz), blades,
            modulation, range (m, median), snr (dB) and so on; empty for background.
    """

    name: str
    label: str
    waveform: Samples
    facts: dict[str, Any]


def names_and_labels(settings: GeneratorSettings) -> list[tuple[str, str]]:
    """Name and class of all recordings, classes in turn."""
    classes = [*CLASSES, BACKGROUND] if settings.background else list(CLASSES)
    labels = [classes[number % len(classes)] for number in range(settings.recordings)]
    return [(f"{label}-{number:04d}", label) for number, label in enumerate(labels)]


def made_recordings(settings: GeneratorSettings, seed: int) -> Iterator[MadeRecording]:
    """Recordings one after the other; each depends on the seed and its number alone.

    Example:
        >>> one = next(made_recordings(GeneratorSettings(recordings=8, seconds=1), seed=0))
        >>> one.name, one.waveform.shape
        ('cargo-0000', (16000,))
    """
    jobs = list(enumerate(names_and_labels(settings)))
    workers = min(os.cpu_count() or 1, 8)
    # Transforms release the interpreter's lock. Some at a time, so that memory stays small.
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(jobs), 4 * workers):
            part = jobs[start : start + 4 * workers]
            yield from pool.map(lambda job: _made(settings, seed, job[0], *job[1]), part)


def _made(
    settings: GeneratorSettings, seed: int, number: int, name: str, label: str
) -> MadeRecording:
    rng = np.random.default_rng([seed, number])
    rate = settings.sample_rate
    samples = round(settings.seconds * rate)
    sea = draw_sea(rng)
    noise = ambient_noise(sea, samples, rate, rng)
    facts: dict[str, Any] = {
        "wind": sea.wind, "water_depth": sea.depth, "receiver_depth": sea.receiver
    }  # fmt: skip
    if label == BACKGROUND:
        return MadeRecording(name, label, noise, {"sub_type": BACKGROUND, **facts})
    kinds = [kind for kind, one in SUB_TYPES.items() if one.label == label]
    ship = draw_ship(str(rng.choice(kinds)), rng)
    closest = float(np.exp(rng.uniform(*np.log(CLOSEST))))
    start = rng.uniform(-1.5, 1.0) * closest / (ship.speed * KNOT) - settings.seconds / 2
    distance = ranges_of_passage(closest, ship.speed * KNOT, start, settings.seconds)
    arrived = through_channel(ship_noise(ship, samples, rate, rng), distance, sea, ship.depth, rate)
    physical = 10 * np.log10(band_power(arrived, rate) / band_power(noise, rate))
    # Near ships are far above the sea's noise, where every class is told from every other.
    snr = float(np.clip(physical, settings.snr_low, settings.snr_high))
    arrived = arrived * np.float32(10 ** ((snr - physical) / 20))
    facts |= {
        "sub_type": ship.sub_type,
        "speed": ship.speed,
        "length": ship.length,
        "shaft": ship.shaft,
        "blades": ship.blades,
        "modulation": ship.modulation,
        "range": float(np.median(distance)),
        "snr": snr,
    }
    if rng.random() < settings.interferer:
        noise = noise + _interferer(sea, band_power(arrived, rate), samples, rate, rng)
    return MadeRecording(name, label, (arrived + noise).astype(np.float32), facts)


def _interferer(
    sea: Sea, target: float, samples: int, rate: int, rng: np.random.Generator
) -> Samples:
    """One far ship of any class, 5 to 15 dB below the target."""
    other = draw_ship(str(rng.choice(list(SUB_TYPES))), rng)
    distance = np.array([rng.uniform(3000, 8000)])
    far = through_channel(ship_noise(other, samples, rate, rng), distance, sea, other.depth, rate)
    wanted = target * 10 ** (rng.uniform(-15, -5) / 10)
    return far * np.float32(np.sqrt(wanted / band_power(far, rate)))


def band_power(waveform: Samples, sample_rate: int) -> float:
    """Mean square within `BAND`.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    >>> round(band_power(tone, 16000), 3)
    0.5
    """
    spectrum = scipy.fft.rfft(waveform)
    bins = np.arange(len(spectrum)) * (sample_rate / len(waveform))
    inside = (bins >= BAND[0]) & (bins <= BAND[1])
    return float(2 * np.square(np.abs(spectrum[inside])).sum() / len(waveform) ** 2)
