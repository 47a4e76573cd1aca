"""inD, rounD, uniD and exiD: junctions, roundabouts and motorway ramps from a drone, 25 Hz.

`NN_tracks.csv` with the centres of vehicles in metres, y upwards, headings in degrees; classes and
rate in the meta files beside it. exiD adds lanes of its map: OpenDRIVE numbers, whose amount grows
to the right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.readers.text_tables import read_csv
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks

RATE = 25.0
REQUIRED = ("trackId", "frame", "xCenter", "yCenter")
VELOCITY = ("xVelocity", "yVelocity")
LANES = ("odrLaneId", "laneChange", "laneWidth")
KINDS = {"truck_bus": "truck", "van": "car", "pedestrian": "pedestrian", "bicycle": "bicycle"}


def read(path: Path) -> Tracks:
    """Read a `NN_tracks.csv` of one of these data sets."""
    optional = ("recordingId", "heading", "width", "length", *VELOCITY, *LANES)
    rows, notes = read_csv(path, "inD", REQUIRED, optional, text=("odrLaneId", "laneWidth"))
    number = path.stem.removesuffix("_tracks")
    columns = pd.DataFrame(
        {
            "recording": number,
            "vehicle": rows["trackId"],
            "frame": rows["frame"],
            "x": rows["xCenter"],
            "y": rows["yCenter"],
            "kind": _kinds(path.with_name(f"{number}_tracksMeta.csv"), rows, notes),
        }
    )
    for name in ("length", "width"):
        if name in rows:
            # Pedestrians and bicycles have a size of 0.
            columns[name] = rows[name].where(rows[name] > 0)
    if "heading" in rows:
        columns["heading"] = np.radians(rows["heading"])
    if set(VELOCITY) <= set(rows):
        columns["speed"] = np.hypot(rows["xVelocity"], rows["yVelocity"])
    lane_width = None
    if "odrLaneId" in rows:
        columns["lane"] = _lanes(rows)
        if "laneWidth" in rows:
            lane_width = float(_first(rows["laneWidth"]).median())
    meta = path.with_name(f"{number}_recordingMeta.csv")
    rate = RATE
    if meta.exists():
        rate = float(read_csv(meta, "inD meta", ("frameRate",))[0]["frameRate"].iloc[0])
    return finish(columns, rate, path, notes, lane_width, align=True)


def _kinds(path: Path, rows: pd.DataFrame, notes: list[str]) -> pd.Series:
    if not path.exists():
        notes.append(f"{path.name} is missing: classes are unknown")
        return pd.Series("unknown", index=rows.index)
    meta, _ = read_csv(path, "inD meta", ("trackId", "class"), text=("class",))
    kinds = meta.drop_duplicates("trackId").set_index("trackId")["class"].str.lower()
    return rows["trackId"].map(kinds.replace(KINDS)).fillna("unknown")


def _first(values: pd.Series) -> pd.Series:
    """First of the `;`-separated values of each row, for vehicles on several lanelets at once."""
    return pd.to_numeric(values.astype("str").str.split(";").str[0], errors="coerce")


def _lanes(rows: pd.DataFrame) -> pd.Series:
    """Lanes that grow to the left; they change only where the data say that the vehicle does."""
    outwards = _first(rows["odrLaneId"]).abs()
    if "laneChange" in rows:
        # Numbers also jump where a new section of road is numbered anew.
        order = rows.sort_values(["trackId", "frame"]).index
        vehicle = rows.loc[order, "trackId"]
        step = outwards[order].groupby(vehicle).diff()
        step = step.where(rows.loc[order, "laneChange"].fillna(0) != 0, 0.0)
        start = outwards[order].groupby(vehicle).transform("first")
        outwards = (start + step.fillna(0).groupby(vehicle).cumsum()).reindex(rows.index)
    lane = outwards.max() - outwards
    return lane.fillna(UNKNOWN_LANE).astype(int)
