"""NGSIM: the text files of a site and period, and the CSV of the data portal with all of them.

Feet, 10 Hz. `Local_X` is counted from the left edge of the road to the right, `Local_Y` along it,
to the middle of the front bumper; lanes count from the left. Vehicle numbers come again in the next
quarter of an hour and at other sites.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.readers.text_tables import header, read_csv, read_numbers
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.readers.units import FOOT
from moe_apps.pipelines.trajectory.tracks import UNKNOWN_LANE, Tracks

RATE = 10.0
FREEWAY = [
    *("Vehicle_ID", "Frame_ID", "Total_Frames", "Global_Time", "Local_X", "Local_Y"),
    *("Global_X", "Global_Y", "v_Length", "v_Width", "v_Class", "v_Vel", "v_Acc", "Lane_ID"),
    *("Preceding", "Following", "Space_Headway", "Time_Headway"),
]
_JUNCTIONS = ["O_Zone", "D_Zone", "Int_ID", "Section_ID", "Direction", "Movement"]
ARTERIAL = [*FREEWAY[:14], *_JUNCTIONS, *FREEWAY[14:]]
REQUIRED = ("Vehicle_ID", "Frame_ID", "Local_X", "Local_Y", "Lane_ID")
OPTIONAL = ("Global_Time", "v_Length", "v_Width", "v_Class", "v_Vel", "Location", "Direction")
KINDS = {1: "motorcycle", 2: "car", 3: "truck"}
LANE_WIDTH = 12 * FOOT
THROUGH_LANES = 8
"""Lane numbers beyond are turning bays and junctions of the arterials."""
US101_LANES = 6
"""The auxiliary lane; 7 and 8 are the ramps before and after it."""


def read(path: Path) -> Tracks:
    """Read an NGSIM file, text or CSV.

    Raises `DataError` for a missing column or a file of another layout.
    """
    if header(path):
        rows, notes = read_csv(path, "NGSIM", REQUIRED, OPTIONAL, text=("Location",))
    else:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            count = len(file.readline().replace(",", " ").split())
        names = ARTERIAL if count == len(ARTERIAL) else FREEWAY
        rows, notes = read_numbers(path, names, "NGSIM")
    length = _in_metres(rows, "v_Length")
    columns = pd.DataFrame(
        {
            "recording": _recordings(rows, path),
            "vehicle": rows["Vehicle_ID"],
            "frame": rows["Frame_ID"],
            "x": rows["Local_Y"] * FOOT,
            "y": -rows["Local_X"] * FOOT,
            "lane": _lanes(rows, notes, path),
            "length": length,
            "width": _in_metres(rows, "v_Width"),
            "kind": rows.get("v_Class", pd.Series(0, index=rows.index)).map(KINDS),
        }
    )
    columns["kind"] = columns["kind"].fillna("unknown")
    if "v_Vel" in rows:
        columns["speed"] = rows["v_Vel"] * FOOT
    # On a freeway the coordinates are the road's; the arterials have traffic both ways and across.
    arterial = bool(rows.get("Direction", pd.Series(0)).fillna(0).gt(0).any())
    tracks = finish(columns, RATE, path, notes, LANE_WIDTH, align=arterial)
    # Only now is it known which way is forward: from the front bumper to the middle.
    half = tracks.table["length"].fillna(0.0) / 2
    return replace(tracks, table=tracks.table.assign(x=tracks.table["x"] - half))


def _in_metres(rows: pd.DataFrame, column: str) -> pd.Series:
    if column not in rows:
        return pd.Series(np.nan, index=rows.index)
    values = rows[column].astype(float) * FOOT
    return values.where(values > 0)


def _recordings(rows: pd.DataFrame, path: Path) -> pd.Series:
    """Names of site and period; within a period frame numbers and the clock run together."""
    if "Location" in rows:
        site = rows["Location"].astype("str").str.strip()
    else:
        site = pd.Series(path.stem, index=rows.index)
    if "Global_Time" not in rows:
        return site
    # Minutes at which frame 0 of a row's period was; periods are quarters of an hour apart.
    start = ((rows["Global_Time"] - rows["Frame_ID"] * (1000 / RATE)) / 60_000).round()
    period = start.groupby(site).transform(lambda starts: _clusters(starts.to_numpy(np.float64)))
    several = period.groupby(site).transform("max") > 0
    numbered = site + " " + (period.fillna(0).astype(int) + 1).astype("str")
    return numbered.where(several, site)


def _clusters(starts: np.ndarray) -> np.ndarray:
    """Number of each value's cluster, clusters being more than two apart."""
    values = np.unique(starts[np.isfinite(starts)])
    number = np.cumsum(np.diff(values, prepend=values[:1]) > 2)
    return number[np.searchsorted(values, starts).clip(max=len(values) - 1)]


def _lanes(rows: pd.DataFrame, notes: list[str], path: Path) -> pd.Series:
    lane = rows["Lane_ID"].fillna(0).astype(int)
    if "Location" in rows:
        us101 = rows["Location"].astype("str").str.contains("101")
    else:
        named = "101" in path.stem
        us101 = pd.Series(named or lane.max() == THROUGH_LANES, index=rows.index)
    ramps = us101 & lane.between(US101_LANES + 1, THROUGH_LANES)
    if ramps.any():
        lane = lane.mask(ramps, US101_LANES)
        notes.append(f"{path.name}: lanes 7 and 8 (ramps) counted with lane 6, the auxiliary lane")
    known = lane.between(1, THROUGH_LANES)
    if (~known).any():
        notes.append(
            f"{path.name}: lane unknown in {int((~known).sum())} rows (0 or beyond {THROUGH_LANES})"
        )
    return (lane[known].max() - lane).where(known, UNKNOWN_LANE)
