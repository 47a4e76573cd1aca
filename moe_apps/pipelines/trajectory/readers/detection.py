"""Which format a file has, told by its kind and its columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.text_tables import header

SUFFIXES = (".csv", ".txt", ".xml", ".parquet", ".ndjson")
# The columns by which a CSV file is known, the most telling first.
_MARKS = {
    "citysim": {"carid", "framenum"},
    "ngsim": {"vehicle_id", "local_x", "local_y"},
    "ind": {"trackid", "xcenter", "ycenter"},
    "interaction": {"track_id", "timestamp_ms", "agent_type"},
    "highd": {"id", "frame", "laneid", "height"},
    "table": {"vehicle", "time", "x", "y"},
}
_HINTS = {
    "citysim": {"carcenterx", "carcenterxft"},
    "ngsim": {"vehicle_id", "frame_id", "local_x", "v_vel", "lane_id"},
    "ind": {"trackid", "tracklifetime", "xcenter", "ycenter"},
    "interaction": {"track_id", "frame_id", "timestamp_ms", "psi_rad"},
    "highd": {"xvelocity", "frontsightdistance", "laneid", "precedingid", "dhw"},
}
_COLUMNS = {4: "eth", 8: "eth", 18: "ngsim", 24: "ngsim"}
META = ("_tracksmeta.csv", "_recordingmeta.csv")


def detect(path: Path) -> str:
    """Return the format of a file.

    Raises `DataError` saying what was found when it is none that is known. A file that lacks one
    column of a format is still known by the others, so that its reader can name the column.
    """
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return "commonroad"
    if suffix == ".ndjson":
        return "trajnet"
    if suffix == ".parquet":
        try:
            names = set(pq.read_schema(path).names)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{path}: is no Parquet that can be read: {reason}") from None
        return "table" if {"vehicle", "time"} <= names else "argoverse2"
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: {suffix or 'no'} ending, expected {', '.join(SUFFIXES)}")
    found = header(path)
    if not found:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            count = len(file.readline().replace("\0", "").replace(",", " ").split())
        if count in _COLUMNS:
            return _COLUMNS[count]
        raise DataError(
            f"{path}: no header line and {count} columns, expected 18 or 24 (NGSIM), or 8 or 4 "
            "(ETH)"
        )
    names = {name.lower() for name in found}
    for format, marks in _MARKS.items():
        if marks <= names:
            return format
    likeness = {format: len(hints & names) for format, hints in _HINTS.items()}
    best = max(likeness, key=lambda format: likeness[format])
    if likeness[best] >= 2:
        return best
    raise DataError(
        f"{path}: columns of no known format: {', '.join(found[:12])}"
        f"{', ...' if len(found) > 12 else ''}"
    )
