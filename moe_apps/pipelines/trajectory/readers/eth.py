"""ETH and UCY pedestrians: `obsmat.txt` (8 columns) and the four-column text made of it, 2.5 Hz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.pipelines.trajectory.readers.text_tables import read_numbers
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.readers.trajnet import in_steps
from moe_apps.pipelines.trajectory.tracks import Tracks

RATE = 2.5
OBSMAT = ("frame", "vehicle", "x", "height", "y", "vx", "vheight", "vy")
PLAIN = ("frame", "vehicle", "x", "y")


def read(path: Path) -> Tracks:
    """Read a file of pedestrians: frame, number, place, and in `obsmat.txt` velocity, in metres.

    Frames are those of the film, of which every sixth or tenth was annotated; both make 2.5 Hz.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        plain = len(file.readline().replace(",", " ").split()) == len(PLAIN)
    rows, notes = read_numbers(path, PLAIN if plain else OBSMAT, "ETH")
    columns = rows[["vehicle", "x", "y"]].assign(
        frame=in_steps(rows["frame"]), kind="pedestrian", recording=_name(path)
    )
    if not plain:
        columns["speed"] = np.hypot(rows["vx"], rows["vy"])
    return finish(pd.DataFrame(columns), RATE, path, notes, align=True)


def _name(path: Path) -> str:
    """The folder, where the file is called as in every recording."""
    return path.parent.name if path.stem == "obsmat" else path.stem
