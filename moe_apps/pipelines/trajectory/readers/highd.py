"""highD: motorways from a drone, 25 Hz, metres; `NN_tracks.csv` with its two meta files.

`x` and `y` are the upper left corner of the vehicle's box in the image, y downwards; `width` is the
length of the vehicle and `height` its width. Direction 1 drives to the left in the image, in the
upper lanes. Lanes count downwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.readers.text_tables import read_csv
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.tracks import Tracks

RATE = 25.0
REQUIRED = ("frame", "id", "x", "y", "width", "height", "laneId")
UPPER, LOWER = 1, 2


def read(path: Path) -> Tracks:
    """Read a `NN_tracks.csv`; rate, classes and directions from the meta files beside it.

    Without `NN_tracksMeta.csv` the direction is that of the motion, and classes are unknown.
    """
    rows, notes = read_csv(path, "highD", REQUIRED, ("xVelocity",))
    number = path.stem.removesuffix("_tracks")
    rate, lane_width = _recording(path.with_name(f"{number}_recordingMeta.csv"))
    meta_path = path.with_name(f"{number}_tracksMeta.csv")
    if meta_path.exists():
        meta, more = read_csv(
            meta_path, "highD meta", ("id", "drivingDirection"), ("class",), text=("class",)
        )
        notes += more
        meta = meta.drop_duplicates("id").set_index("id")
        direction = rows["id"].map(meta["drivingDirection"])
        kind = rows["id"].map(meta["class"]).str.lower() if "class" in meta else None
    else:
        notes.append(f"{path.name}: no {meta_path.name} beside it, directions are those of motion")
        ends = rows.sort_values("frame").groupby("id")["x"].agg(["first", "last"])
        moved = rows["id"].map(ends["last"] - ends["first"])
        direction = pd.Series(np.where(moved < 0, UPPER, LOWER), index=rows.index)
        kind = None
    known = direction.isin([UPPER, LOWER])
    if (~known).any():
        vehicles = rows.loc[~known, "id"].nunique()
        notes.append(f"{path.name}: {vehicles} vehicles dropped, {meta_path.name} lacks them")
        rows, direction = rows[known], direction[known]
        kind = None if kind is None else kind[known]
    sign = np.where(direction == UPPER, -1.0, 1.0)
    columns = pd.DataFrame(
        {
            "recording": number + np.where(direction == UPPER, " upper", " lower").astype(object),
            "vehicle": rows["id"],
            "frame": rows["frame"],
            "x": sign * (rows["x"] + rows["width"] / 2),
            "y": -sign * (rows["y"] + rows["height"] / 2),
            "lane": rows["laneId"],
            "length": rows["width"],
            "width": rows["height"],
            "kind": "unknown" if kind is None else kind.fillna("unknown"),
        }
    )
    lanes = columns.groupby("recording")["lane"]
    upper = direction == UPPER
    columns["lane"] = np.where(
        upper, columns["lane"] - lanes.transform("min"), lanes.transform("max") - columns["lane"]
    )
    if "xVelocity" in rows:
        columns["speed"] = rows["xVelocity"].abs()
    return finish(columns, rate, path, notes, lane_width)


def _recording(path: Path) -> tuple[float, float | None]:
    """Rate in Hz and the width of a lane in metres."""
    if not path.exists():
        return RATE, None
    markings = ("upperLaneMarkings", "lowerLaneMarkings")
    meta, _ = read_csv(path, "highD meta", ("frameRate",), markings, text=markings)
    widths: list[float] = []
    for column in markings:
        if column in meta:
            places = [float(place) for place in str(meta[column].iloc[0]).split(";") if place]
            widths += np.diff(places).tolist()
    return float(meta["frameRate"].iloc[0]), float(np.median(widths)) if widths else None
