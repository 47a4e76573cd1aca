"""CitySim: crossings and expressways from a drone, 30 Hz.

Positions in pixels, feet and degrees, speed in mph, y downwards as in the image. Lane numbers count
from 0 and which way differs with the carriageway, so that where they lie tells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.text_tables import header, read_csv
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.readers.units import FOOT, MILE_PER_HOUR
from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks

RATE = 30.0
FEET = ("carCenterXft", "carCenterYft")
DEGREES = ("carCenterLat", "carCenterLon")
BOX = [f"boundingBox{corner}{axis}ft" for corner in range(1, 5) for axis in "XY"]
EARTH_RADIUS = 6_371_000.0


def read(path: Path) -> Tracks:
    """Read a CitySim CSV, by its columns in feet or, without them, in degrees.

    Raises `DataError` for a file with pixels only, whose scale nobody knows.
    """
    names = {name.lower() for name in header(path)}
    place = next((pair for pair in (FEET, DEGREES) if {n.lower() for n in pair} <= names), None)
    if place is None:
        raise DataError(
            f"{path}: no column {FEET[0]!r} nor {DEGREES[0]!r}: positions in pixels alone have no "
            "known scale"
        )
    optional = ("speed", "laneId", *BOX)
    rows, notes = read_csv(path, "CitySim", ("frameNum", "carId", *place), optional)
    columns = pd.DataFrame({"recording": path.stem, "vehicle": rows["carId"]})
    columns["frame"] = rows["frameNum"]
    if place == FEET:
        columns["x"], columns["y"] = rows[FEET[0]] * FOOT, -rows[FEET[1]] * FOOT
    else:
        notes.append(f"{path.name}: no columns in feet, positions are those in degrees")
        lat, lon = np.radians(rows[DEGREES[0]]), np.radians(rows[DEGREES[1]])
        columns["x"] = EARTH_RADIUS * (lon - lon.mean()) * np.cos(lat.mean())
        columns["y"] = EARTH_RADIUS * (lat - lat.mean())
    if set(BOX) <= set(rows):
        corners = rows[BOX].to_numpy(np.float64).reshape(len(rows), 4, 2) * FOOT
        sides = np.linalg.norm(np.diff(corners[:, :3], axis=1), axis=2)
        columns["length"], columns["width"] = sides.max(axis=1), sides.min(axis=1)
    if "laneId" in rows:
        lane = rows["laneId"].where(rows["laneId"] >= 0)
        columns["lane"] = lane.fillna(UNKNOWN_LANE).astype(int)
    if "speed" in rows:
        columns["speed"] = rows["speed"] * MILE_PER_HOUR
    return finish(columns, RATE, path, notes, align=True, lanes_either_way=True)
