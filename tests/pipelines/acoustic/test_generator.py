from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from moe_apps.pipelines.acoustic.config import GeneratorSettings
from moe_apps.pipelines.acoustic.generator import band_power, made_recordings, names_and_labels
from moe_apps.pipelines.acoustic.sea import (
    Sea,
    ambient_noise,
    ranges_of_passage,
    through_channel,
    transfer,
)
from moe_apps.pipelines.acoustic.ship_noise import frequencies, ship_noise
from moe_apps.pipelines.acoustic.ships import SUB_TYPES, draw_ship
from moe_apps.pipelines.acoustic.source_spectrum import ambient_spectrum, ship_spectrum

RATE = 16000
CALM = Sea(depth=100.0, receiver=30.0, wind=0.0, shipping=0.5, bottom=0.4, rain=0.0)


@pytest.mark.parametrize(
    ("frequency", "density", "band"),
    [(10.0, 157.234, 160.870), (50.119, 167.282, 177.918), (100.0, 155.736, 169.372),
     (1000.0, 137.758, 161.394), (3162.2777, 127.5927, 156.2288)],
)  # fmt: skip
def test_source_level_as_published(frequency: float, density: float, band: float) -> None:
    """File S1 of MacGillivray & de Jong 2021: a bulker of 211 m at 13.5 kn, decidecade bands."""
    found = ship_spectrum(np.array([frequency]), "bulker", 13.5, 211)[0]
    assert found == pytest.approx(density, abs=0.01)
    assert found + 10 * np.log10(0.231 * frequency) == pytest.approx(band, abs=0.01)


def test_noise_has_the_level_of_the_spectrum() -> None:
    ship = draw_ship("product", np.random.default_rng(1))
    noise = ship_noise(ship, 10 * RATE, RATE, np.random.default_rng(2))
    bins, density = signal.welch(noise, RATE, nperseg=4096)
    level = ship_spectrum(bins[1:], "tanker", ship.speed, ship.length) + ship.level
    level += ship.tilt * np.log2(bins[1:] / 1000)
    inside = (bins[1:] > 2000) & (bins[1:] < 7000)  # above the tones
    difference = (10 * np.log10(density[1:]) - level)[inside]
    # Modulation by a cosine of depth m adds 10 log(1 + m^2 / 2).
    expected = 10 * np.log10(1 + ship.modulation**2 / 2)
    assert difference.mean() == pytest.approx(expected, abs=0.3)


def test_sea_noise_has_the_level_of_the_spectrum() -> None:
    noise = ambient_noise(CALM, 10 * RATE, RATE, np.random.default_rng(7))
    bins, density = signal.welch(noise, RATE, nperseg=4096, average="median")
    inside = (bins > 100) & (bins < 2000)
    expected = ambient_spectrum(bins[inside], CALM.shipping, CALM.wind)
    assert np.median(10 * np.log10(density[inside]) - expected) == pytest.approx(0, abs=0.5)


def test_shaft_rate_is_heard() -> None:
    from moe_apps.models.acoustic import Demon

    ship = draw_ship("towing", np.random.default_rng(3))
    noise = ship_noise(ship, 10 * RATE, RATE, np.random.default_rng(4))
    spectrum = np.asarray(Demon()(noise[None]))[0]
    bins = np.arange(1, len(spectrum) + 1) * RATE / noise.size
    blade = ship.shaft * ship.blades
    near = np.abs(bins - blade) < 0.02 * blade + 0.1
    assert spectrum[near].max() > np.median(spectrum) + 10


def test_direct_and_surface_path_make_a_lloyd_mirror() -> None:
    sea = Sea(depth=5000.0, receiver=60.0, wind=0.0, shipping=0.5, bottom=0.0, rain=0.0)
    frequency = frequencies(RATE, RATE)
    distance, source = 800.0, 7.0
    found = np.abs(transfer(frequency, np.array([distance]), sea, source))[0]
    minima = signal.find_peaks(-found[50:], prominence=1e-4)[0] + 50
    period = 1490.0 * distance / (2 * source * sea.receiver)
    assert np.diff(minima).mean() == pytest.approx(period, rel=0.02)


def test_a_still_channel_is_a_filter() -> None:
    rng = np.random.default_rng(5)
    pressure = rng.normal(size=2 * RATE).astype(np.float32)
    found = through_channel(pressure, np.array([500.0]), CALM, 5.0, RATE)
    size = 4 * RATE
    factor = transfer(frequencies(size, RATE), np.array([500.0]), CALM, 5.0)[0]
    expected = np.fft.irfft(np.fft.rfft(pressure, size) * factor, size)[: pressure.size]
    error = found[RATE // 2 : -RATE // 2] - expected[RATE // 2 : -RATE // 2]
    assert np.sqrt(np.square(error).mean() / np.square(expected).mean()) < 0.02


def test_a_passage_is_nearest_in_its_middle() -> None:
    distance = ranges_of_passage(closest=200.0, speed=8.0, start=-10.0, seconds=20.0)
    assert distance.argmin() in (39, 40) and distance.min() == pytest.approx(200, abs=0.1)


def test_recordings_are_those_of_the_seed_and_say_what_they_are() -> None:
    settings = GeneratorSettings(recordings=10, seconds=1.0, background=True, snr_high=5.0)
    one, two = (list(made_recordings(settings, seed=4)) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.waveform, second.waveform)
        assert np.isfinite(first.waveform).all() and first.waveform.shape == (RATE,)
    assert [made.label for made in one[:5]] == [label for _, label in names_and_labels(settings)][
        :5
    ]
    assert {made.label for made in one} == {*{s.label for s in SUB_TYPES.values()}, "background"}
    for made in one:
        if made.label != "background":
            assert SUB_TYPES[made.facts["sub_type"]].label == made.label
            assert -10 <= made.facts["snr"] <= 5
    other = next(made_recordings(settings, seed=5))
    assert np.abs(other.waveform - one[0].waveform).max() > 0


def test_power_in_the_band() -> None:
    time = np.arange(RATE) / RATE
    both = np.sin(2 * np.pi * 1000 * time) + 5 * np.sin(2 * np.pi * 10 * time)
    assert band_power(both.astype(np.float32), RATE) == pytest.approx(0.5, abs=1e-3)
