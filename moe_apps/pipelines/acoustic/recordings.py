"""Which recordings a folder holds: classes, ships, sub-types and parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.metadata import Metadata, deepship_ships, read_metadata
from moe_apps.pipelines.acoustic.sound_files import SoundFacts, is_sound, sound_facts

PARTS = ("train", "validation", "test")
SHIPSEAR = re.compile(
    r"^(?:(?P<label>[A-Za-z][A-Za-z_ ]*?)_)?(?P<id>\d+)__(?P<date>\d\d_\d\d_\d\d)_(?P<name>.+)$"
)


@dataclass(frozen=True)
class Recording:
    """A recording that can be read.

    Attributes:
        name: unique within the data; path within the folder.
        label: its class; "" where it is not known.
        file: where it is; None where it is made.
        sound: what its header says; None where it is made.
        ship: name of the ship, or None.
        sub_type: kind within the class, or None.
        part: of `PARTS`, where the data say so.
        facts: further facts, such as those of the generator.
    """

    name: str
    label: str
    file: Path | None = None
    sound: SoundFacts | None = None
    ship: str | None = None
    sub_type: str | None = None
    part: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def find_recordings(
    folder: Path, *, metadata: Path | None = None, strict: bool = False
) -> tuple[list[Recording], list[str]]:
    """Recordings of a folder with one class a folder, and notes on what was skipped.

    The class is the first folder on the way to a file; where files lie in `folder` itself, it is
    what ShipsEar puts before the number (`Tugboat_15__...`). Ships come from the metadata, from
    DeepShip's metafiles, or from ShipsEar's file names.

    Args:
        folder: the folder.
        metadata: CSV; see `DataSettings.metadata`.
        strict: raise for the first bad file instead of skipping it.

    Raises:
        DataError: there are no sound files, or no classes.
    """
    files = sorted(path for path in folder.rglob("*") if is_sound(path) and path.is_file())
    if not files:
        others = sum(1 for path in folder.rglob("*") if path.is_file())
        raise DataError(
            f"{folder}: no sound files (.wav, .flac, .ogg, .mp3) among {others} files; expected "
            "one folder of recordings for each class"
        )
    notes: list[str] = []
    found: list[Recording] = []
    for file in files:
        try:
            sound = sound_facts(file)
        except DataError as error:
            if strict:
                raise
            notes.append(f"skipped: {error}")
            continue
        name = file.relative_to(folder).as_posix()
        label, ship = label_of(name), shipsear_ship(file.stem)
        found.append(Recording(name, label, file, sound, ship))
    if not found:
        raise DataError(f"{folder}: none of {len(files)} sound files can be read; {notes[0]}")
    found = _with_deepship(folder, found, notes)
    known = metadata or folder / "metadata.csv"
    if metadata is not None or known.is_file():
        found = _with_metadata(read_metadata(known), found, notes)
    return found, notes


def label_of(name: str) -> str:
    """Class of a recording by its path within the folder; "" where it has none.

    >>> label_of("Tug/20171104-1/5.wav"), label_of("Tugboat_15__10_07_13_radaUno.wav")
    ('Tug', 'Tugboat')
    """
    head, slash, _ = name.partition("/")
    if slash:
        return head
    match = SHIPSEAR.match(Path(name).stem)
    return (match["label"] or "") if match else ""


def shipsear_ship(stem: str) -> str | None:
    """Ship of a file of ShipsEar, whose name is that of the ship and what it did.

    >>> shipsear_ship("6__10_07_13_marDeCangas_Entra"), shipsear_ship("whale")
    ('mardecangas', None)
    """
    match = SHIPSEAR.match(stem)
    return match["name"].split("_")[0].lower() if match else None


def _with_deepship(
    folder: Path, recordings: Sequence[Recording], notes: list[str]
) -> list[Recording]:
    ships = deepship_ships(folder, recordings, notes)
    return [replace(one, ship=ships.get(one.name, one.ship)) for one in recordings]


def _with_metadata(
    metadata: Metadata, recordings: Sequence[Recording], notes: list[str]
) -> list[Recording]:
    rows = [metadata.row(one.name) for one in recordings]
    missing = sum(row is None for row in rows)
    if missing == len(rows):
        raise DataError(
            f"{metadata.file}: column recording names none of the {len(rows)} files; expected "
            f"names such as {recordings[0].name}"
        )
    if missing:
        notes.append(f"{metadata.file.name}: says nothing of {missing} of {len(rows)} recordings")
    return [
        one if row is None else replace(one, **row)
        for one, row in zip(recordings, rows, strict=True)
    ]
