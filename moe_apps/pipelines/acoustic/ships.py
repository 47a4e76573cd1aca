"""Kinds of ships that the generator draws from, and what one ship is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]
CLASSES = ("cargo", "passenger", "tanker", "tug")
BACKGROUND = "background"


@dataclass(frozen=True)
class SubType:
    """A kind of ship within a class.

    Attributes:
        label: its class.
        vessel: its name in `source_spectrum.VESSELS`.
        length: metres.
        speed: knots.
        shaft: rate of the propeller shaft, Hz.
        blades: of a propeller, with their shares.
        engine: "two_stroke" on the shaft, "four_stroke" or "high_speed" behind a gear, or
            "electric" with weak engine lines.
        twin: share of ships with two shafts.
        towing: whether the propeller cavitates heavily at any speed.
    """

    label: str
    vessel: str
    length: Range
    speed: Range
    shaft: Range
    blades: dict[int, float]
    engine: str
    twin: float = 0.0
    towing: bool = False


# Classes overlap on every single cue: coasters, coastal tankers and tugs in shaft rate, crude
# carriers and bulkers in size and engine. Shaft rates follow labels of real recordings (DeepShip).
SUB_TYPES: dict[str, SubType] = {
    "container": SubType(
        "cargo", "container", (200, 350), (14, 20), (1.2, 1.9), {5: 0.7, 6: 0.3}, "two_stroke"
    ),
    "bulker": SubType(
        "cargo", "bulker", (150, 250), (10, 14), (1.1, 1.8), {4: 0.7, 5: 0.3}, "two_stroke"
    ),
    "coaster": SubType(
        "cargo", "bulker", (75, 120), (9, 13), (2.2, 4.3), {3: 0.4, 4: 0.6}, "four_stroke"
    ),
    "ropax": SubType(
        "passenger", "passenger", (90, 160), (13, 19), (2.2, 3.4), {4: 1.0}, "four_stroke", 0.9
    ),
    "cruise": SubType(
        "passenger", "cruise", (180, 300), (14, 21), (1.8, 2.6), {5: 0.6, 6: 0.4}, "electric", 1.0
    ),
    "fast_ferry": SubType(
        "passenger",
        "passenger",
        (25, 45),
        (18, 30),
        (4.0, 7.5),
        {4: 0.7, 5: 0.3},
        "high_speed",
        1.0,
    ),
    "crude": SubType(
        "tanker", "tanker", (220, 330), (11, 15), (1.15, 1.6), {4: 0.85, 5: 0.15}, "two_stroke"
    ),
    "product": SubType(
        "tanker", "tanker", (120, 185), (10, 14), (1.5, 2.2), {4: 0.9, 5: 0.1}, "two_stroke"
    ),
    "coastal": SubType(
        "tanker", "tanker", (60, 110), (9, 12), (2.2, 3.3), {3: 0.15, 4: 0.85}, "four_stroke"
    ),
    "conventional": SubType(
        "tug", "tug", (20, 32), (7, 11), (3.0, 4.6), {3: 0.4, 4: 0.6}, "four_stroke"
    ),
    "azimuth": SubType("tug", "tug", (24, 34), (8, 12), (3.4, 4.6), {4: 1.0}, "high_speed", 1.0),
    "towing": SubType(
        "tug", "tug", (22, 36), (3, 6), (2.4, 3.5), {4: 0.8, 5: 0.2}, "four_stroke", 0.3, True
    ),
}


@dataclass(frozen=True)
class Ship:
    """One ship on one passage.

    Attributes:
        sub_type: a name of `SUB_TYPES`.
        length: metres.
        speed: knots.
        shaft: Hz.
        blades: of a propeller.
        twin: whether there are two shafts, and the share by which the second is faster.
        slip: that share.
        depth: m, of the cavitating part of the propeller.
        modulation: depth m of the cavitation's modulation, 0 without cavitation.
        level: dB, how much louder than its kind.
        tilt: dB/octave, how much flatter its spectrum is.
        engine_rate: half the crank rate of a four-stroke engine, the crank rate of a two-stroke.
        cylinders: of an engine.
        generator_rate: half the crank rate of the generator sets.
        mains: Hz, 50 or 60.
        crossover: Hz, above which cavitation makes the noise.
    """

    sub_type: str
    length: float
    speed: float
    shaft: float
    blades: int
    twin: bool
    slip: float
    depth: float
    modulation: float
    level: float
    tilt: float
    engine_rate: float
    cylinders: int
    generator_rate: float
    mains: float
    crossover: float


def draw_ship(name: str, rng: np.random.Generator) -> Ship:
    """A ship of a sub-type.

    >>> ship = draw_ship("crude", np.random.default_rng(0))
    >>> 1.15 <= ship.shaft <= 1.6, ship.modulation <= 0.6
    (True, True)
    """
    kind = SUB_TYPES[name]
    length, speed = rng.uniform(*kind.length), rng.uniform(*kind.speed)
    shaft = rng.uniform(*kind.shaft)
    blades = int(rng.choice(list(kind.blades), p=list(kind.blades.values())))
    inception = rng.uniform(0.55, 1.0) * kind.speed[1]
    modulation = float(np.clip(0.55 * (speed / inception - 1), 0, 0.6))
    if kind.towing:
        modulation = rng.uniform(0.3, 0.6)
    if kind.engine == "two_stroke":
        engine_rate, cylinders = shaft, int(rng.integers(5, 9))
    elif kind.engine == "high_speed":
        engine_rate, cylinders = rng.uniform(1400, 2000) / 120, int(rng.choice([8, 12, 16]))
    else:
        engine_rate, cylinders = rng.uniform(500, 900) / 120, int(rng.integers(6, 10))
    mains = float(rng.choice([50, 60]))
    rpm = rng.choice([720, 900, 1200, 1800] if mains == 60 else [750, 1000, 1500])
    return Ship(
        sub_type=name,
        length=length,
        speed=speed,
        shaft=shaft,
        blades=blades,
        twin=bool(rng.random() < kind.twin),
        slip=rng.uniform(0, 0.01),
        depth=rng.uniform(3, 7),
        modulation=modulation,
        level=rng.normal(0, 3),
        tilt=rng.normal(0, 2),
        engine_rate=engine_rate,
        cylinders=cylinders,
        generator_rate=rpm / 120,
        mains=mains,
        crossover=rng.uniform(200, 500),
    )
