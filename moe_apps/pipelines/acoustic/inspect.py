"""What is understood of recordings before training on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.recordings import Recording, find_recordings, label_of
from moe_apps.pipelines.acoustic.sound_files import mono_blocks, sound_facts
from moe_apps.pipelines.acoustic.spectra_file import SPECTRA_SUFFIX, read_spectra

SHOWN = 40
CLIPPED_LEVEL, CLIPPED_SHARE = 0.999, 1e-4
SILENT_DECIBELS = -90.0


def inspect(path: Path) -> dict[str, Any]:
    """Return the facts of a sound file, a folder of recordings, or an .npz of spectra.

    Returns:
        Numbers of recordings, classes, ships and hours; `classes` has a row a class, `each` a
        row a recording (seconds, rate, channels, format, level in dB of full scale, share of
        clipped samples); `notes` what is skipped or looks wrong.
    """
    if path.suffix.lower() == SPECTRA_SUFFIX:
        found = read_spectra(path, labelled=False)
        facts = _totals(found.recordings)
        kinds = dict(zip(found.names, found.lengths, strict=True))
        return {**facts, "spectra": kinds, "notes": found.notes}
    if path.is_file():
        recordings = [Recording(path.name, label_of(path.name), path, sound_facts(path))]
        notes: list[str] = []
    else:
        recordings, notes = find_recordings(path)
    usable: list[Recording] = []
    rows: list[dict[str, Any]] = []
    contents: dict[str, list[str]] = {}
    for one in recordings:
        assert one.file is not None and one.sound is not None
        try:
            row, content = _measured(one)
        except DataError as error:
            notes.append(f"skipped: {error}")
            continue
        usable.append(one)
        rows.append(row)
        contents.setdefault(content, []).append(one.name)
    if not usable:
        raise DataError(f"{path}: no recording can be read to its end; {notes[-1]}")
    notes += _warnings(rows, contents, usable)
    if len(rows) > SHOWN:
        notes.append(f"{len(rows) - SHOWN} more recordings are not shown")
    return {**_totals(usable), "each": rows[:SHOWN], "notes": notes}


def _totals(recordings: Sequence[Recording]) -> dict[str, Any]:
    labels = sorted({one.label for one in recordings})
    classes = []
    for label in labels:
        own = [one for one in recordings if one.label == label]
        seconds = [one.sound.seconds for one in own if one.sound]
        row: dict[str, Any] = {"class": label or "(none)", "recordings": len(own)}
        row["ships"] = len({one.ship for one in own if one.ship}) or None
        if seconds:
            row |= {"minutes": round(sum(seconds) / 60, 2), "shortest_s": round(min(seconds), 2)}
            row["longest_s"] = round(max(seconds), 2)
        classes.append(row)
    sounds = [one.sound for one in recordings if one.sound]
    return {
        "recordings": len(recordings),
        "ships": len({one.ship for one in recordings if one.ship}) or None,
        "hours": round(sum(sound.seconds for sound in sounds) / 3600, 4) or None,
        "rates_hz": sorted({sound.rate for sound in sounds}) or None,
        "channels": sorted({sound.channels for sound in sounds}) or None,
        "classes": classes,
    }


def _measured(one: Recording) -> tuple[dict[str, Any], str]:
    """A row of facts, and a digest of the samples."""
    assert one.file is not None and one.sound is not None
    power = clipped = count = 0.0
    content = hashlib.sha256()
    for block in mono_blocks(one.file, one.sound.rate):
        power += float(np.square(block, dtype=np.float64).sum())
        clipped += float((np.abs(block) >= CLIPPED_LEVEL).sum())
        count += len(block)
        content.update(block.tobytes())
    row = {
        "recording": one.name,
        "class": one.label or "(none)",
        "ship": one.ship,
        "seconds": round(one.sound.seconds, 2),
        "rate": one.sound.rate,
        "channels": one.sound.channels,
        "format": one.sound.format,
        "level_db": round(10 * np.log10(max(power / max(count, 1), 1e-20)), 1),
        "clipped": round(clipped / max(count, 1), 6),
    }
    return row, content.hexdigest()


def _warnings(
    rows: Sequence[dict[str, Any]], contents: dict[str, list[str]], recordings: Sequence[Recording]
) -> list[str]:
    notes = []
    silent = [row["recording"] for row in rows if row["level_db"] < SILENT_DECIBELS]
    clipped = [row["recording"] for row in rows if row["clipped"] > CLIPPED_SHARE]
    twice = [names for names in contents.values() if len(names) > 1]
    unnamed = [row["recording"] for row in rows if row["class"] == "(none)"]
    for names, text in (
        (silent, f"silent (below {SILENT_DECIBELS:g} dB of full scale)"),
        (clipped, f"clipped (more than {CLIPPED_SHARE:.2%} of samples at full scale)"),
        (unnamed, "in no class (they lie in the folder itself)"),
    ):
        if names:
            notes.append(f"{len(names)} {text}: {_some(names)}")
    notes += [f"the same samples: {_some(names)}" for names in twice[:5]]
    ships = sum(one.ship is not None for one in recordings)
    if ships < len(recordings):
        known = f"{ships} of {len(recordings)} ships are known" if ships else "ships are unknown"
        notes.append(f"{known}: the split is by recording unless a metadata.csv names them all")
    labels: dict[str, int] = {}
    for one in recordings:
        labels[one.label] = labels.get(one.label, 0) + 1
    few = [label for label, count in labels.items() if count < 3 and label]
    if few and len(labels) > 1:
        notes.append(f"too few recordings (3 are needed) in: {_some(few)}")
    return notes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
