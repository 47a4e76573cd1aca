"""Reads the formats of published trajectory data into `Tracks`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.trajectory.readers.detection import META, SUFFIXES, detect
from moe_apps.pipelines.trajectory.resampling import resample
from moe_apps.pipelines.trajectory.tracks import Tracks, concatenate

FORMATS = {
    "ngsim": "ngsim",
    "highd": "highd",
    "ind": "ind",
    "citysim": "citysim",
    "interaction": "interaction",
    "commonroad": "commonroad",
    "argoverse2": "argoverse2",
    "trajnet": "trajnet",
    "eth": "eth",
    "table": "own_table",
}
"""Name of each format and of the module here that reads it."""

_LOGGER = logging.getLogger(__name__)


def read_tracks(
    path: str | Path, format: str = "auto", rate: float | None = None, strict: bool = False
) -> Tracks:
    """Read a file, or all files of a folder and those below it, into tracks in metres and seconds.

    Args:
        path: a file or folder.
        format: one of `FORMATS`, or `auto`: told by the columns and the kind of file.
        rate: Hz to bring the tracks to; by default the rate they were recorded at.
        strict: whether one bad file in a folder is an error; by default it is skipped and noted.

    Notes that are warnings are also logged, so that they are seen on standard error.

    Raises:
        ConfigError: There is no such format.
        DataError: There is nothing that can be read; names file, row or column.

    Example:
        >>> read_tracks("trajectories-0750am-0805am.txt", rate=5)  # doctest: +SKIP
        Tracks(...)
    """
    parts, notes = read_parts(path, format, rate, strict)
    joined = parts[0] if len(parts) == 1 else concatenate(parts, str(path))
    joined = joined.with_notes(*notes)
    for note in joined.notes:
        if "warning: " in note:
            _LOGGER.warning(note)
    return joined


def read_parts(
    path: str | Path, format: str = "auto", rate: float | None = None, strict: bool = False
) -> tuple[list[Tracks], list[str]]:
    """Read as `read_tracks` does, each file for itself, so that rates may differ.

    Returns the tracks of each file, at least one, and notes on those skipped.
    """
    if format != "auto" and format not in FORMATS:
        raise ConfigError(f"format {format!r}: expected auto or one of {', '.join(FORMATS)}")
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [_read(path, format, rate)], []
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.lower().endswith(META)
    )
    if not files:
        raise DataError(f"{path}: no file of tracks in it (looked for {', '.join(SUFFIXES)})")
    parts, notes, first = [], [], None
    for file in files:
        try:
            parts.append(_read(file, format, rate))
        except DataError as error:
            if strict:
                raise
            first = first or error
            notes.append(f"warning: file skipped: {error}")
    if len(notes) > 10:
        notes[10:] = [f"warning: {len(notes) - 10} more files skipped"]
    if first and not parts:
        more = f" ({len(files)} files, none of them can be read)" if len(files) > 1 else ""
        raise DataError(f"{first}{more}")
    return parts, notes


def _read(path: Path, format: str, rate: float | None) -> Tracks:
    name = FORMATS[detect(path) if format == "auto" else format]
    reader: Callable[[Path], Tracks] = import_module(f"{__name__}.{name}").read
    try:
        tracks = reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text: {error.reason}") from None
    return tracks if rate is None else resample(tracks, rate)
