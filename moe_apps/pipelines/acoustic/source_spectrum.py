"""How loud ships, sea and water are: spectra in dB re 1 uPa^2/Hz."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

REFERENCE_LENGTH = 300 / 3.28084
"""Metres; 300 feet."""
VESSELS: dict[str, tuple[float, float | None, float]] = {
    "bulker": (13.9, 0.8, 3.0),
    "container": (18.0, 0.8, 3.0),
    "cruise": (17.1, None, 4.0),
    "dredger": (9.5, None, 3.0),
    "fishing": (6.4, None, 3.0),
    "government": (8.0, None, 3.0),
    "naval": (11.1, None, 3.0),
    "passenger": (9.7, None, 3.0),
    "recreational": (10.6, None, 3.0),
    "tanker": (12.4, 1.0, 3.0),
    "tug": (3.7, None, 3.0),
    "vehicle_carrier": (15.8, 1.0, 3.0),
    "other": (7.4, None, 3.0),
}
"""Reference speed in knots, damping of the hump below 100 Hz (cargo ships), and of the rest."""


def ship_spectrum(frequency: Floats, vessel: str, speed: float, length: float) -> Floats:
    """Source level of a ship at 1 m, dB re 1 uPa^2/Hz.

    Source: MacGillivray & de Jong 2021, "A Reference Spectrum Model for Estimating Source Levels
    of Marine Shipping Based on Automated Identification System Data" (JOMOPANS-ECHO), J. Mar.
    Sci. Eng. 9(4), 369.

    Args:
        frequency: Hz, above 0.
        vessel: a name of `VESSELS`.
        speed: knots.
        length: metres.

    Example:
        >>> ship_spectrum(np.array([1000.0]), "bulker", speed=13.5, length=211).round(3).tolist()
        [137.758]
    """
    reference, hump, damping = VESSELS[vessel]
    size = 60 * np.log10(speed / reference) + 20 * np.log10(length / REFERENCE_LENGTH)
    peak = 480 / reference
    ratio = frequency / peak
    level = 191 - 20 * np.log10(peak) - 10 * np.log10((1 - ratio) ** 2 + damping**2)
    if hump is not None:
        peak = 600 / reference
        ratio = np.square(frequency / peak)
        low = 208 - 40 * np.log10(peak) + 10 * np.log10(frequency)
        low = low - 10 * np.log10((1 - ratio) ** 2 + hump**2)
        level = np.where(frequency < 100, low, level)
    return level + size


def ambient_spectrum(frequency: Floats, shipping: float, wind: float) -> Floats:
    """Ambient noise of the sea, dB re 1 uPa^2/Hz: turbulence, distant ships, wind, heat.

    Source: Coates 1990, "Underwater Acoustic Systems", in the form of Stojanovic 2007, after
    Wenz 1962, JASA 34.

    Args:
        frequency: Hz, above 0.
        shipping: 0 to 1.
        wind: m/s.

    Example:
        >>> ambient_spectrum(np.array([50.0, 1000.0]), shipping=0.5, wind=6).round(1).tolist()
        [72.2, 62.5]
    """
    f = frequency / 1000
    log = np.log10(f)
    parts = (
        17 - 30 * log,
        40 + 20 * (shipping - 0.5) + 26 * log - 60 * np.log10(f + 0.03),
        50 + 7.5 * np.sqrt(wind) + 20 * log - 40 * np.log10(f + 0.4),
        -15 + 20 * log,
    )
    return 10 * np.log10(sum(10 ** (part / 10) for part in parts))


def absorption(frequency: Floats) -> Floats:
    """Absorption of sea water, dB/km (Thorp 1967).

    >>> absorption(np.array([10_000.0])).round(2).tolist()
    [1.15]
    """
    square = np.square(frequency / 1000)
    return 1.0936 * (0.1 * square / (1 + square) + 40 * square / (4100 + square))
