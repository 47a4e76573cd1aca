"""Which recordings are for training, validation and test; no recording is on two sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.config import DataSettings
from moe_apps.pipelines.acoustic.recordings import PARTS, Recording

Ints = npt.NDArray[np.int64]

TRAIN, VALIDATION, TEST, HELD_OUT = range(4)
PART_NAMES = (*PARTS, "held_out")
LEAST_UNITS = 3


def split_recordings(
    recordings: Sequence[Recording], settings: DataSettings, seed: int, source: str
) -> tuple[Ints, str]:
    """Number of the part (0 train, 1 validation, 2 test, 3 held out) of each recording.

    Where the data say to which part recordings belong, that is kept (and what has none is left to
    training); else units (ships or recordings) are drawn so that classes keep their shares.

    Returns:
        The parts, and the unit: "ship", "recording" or "part" (as the data say).

    Raises:
        DataError: a class is too small to be in all parts, or a unit is in two of them.
    """
    held_out = np.array([one.sub_type in settings.held_out for one in recordings])
    known = {one.sub_type for one in recordings}
    unknown = [name for name in settings.held_out if name not in known]
    if unknown:
        raise DataError(
            f"{source}: data.held_out names {', '.join(unknown)}, but the sub-types are "
            f"{', '.join(sorted(str(name) for name in known if name)) or 'not known'}"
        )
    parts = np.full(len(recordings), HELD_OUT, np.int64)
    rows = np.flatnonzero(~held_out)
    rest = [recordings[int(row)] for row in rows]
    if any(one.part for one in rest):
        parts[rows] = [PARTS.index(one.part or "train") for one in rest]
        parts[rows] = _with_validation(rest, parts[rows], seed, source)
        unit = "part"
    else:
        unit = _unit(rest, settings.split)
        _check_sizes(rest, unit, source)
        parts[rows] = _drawn(rest, units_of(rest, unit), settings, seed)
    check_leaks(recordings, parts, source, ships=unit != "recording" or settings.split == "ship")
    _check_classes(rest, parts[rows], source)
    return parts, unit


def units_of(recordings: Sequence[Recording], unit: str) -> list[str]:
    """What must stay together: the ship where it is known and asked for, else the recording.

    >>> units_of([Recording("a", "Tug", ship="Ox"), Recording("b", "Tug")], "ship")
    ['ship Ox', 'recording b']
    """
    return [
        f"ship {one.ship}" if unit == "ship" and one.ship else f"recording {one.name}"
        for one in recordings
    ]


def check_leaks(
    recordings: Sequence[Recording], parts: Ints, source: str, *, ships: bool = True
) -> None:
    """Raise `DataError` that names recordings (and ships, if asked) that are in two parts."""
    for unit in ("recording", "ship") if ships else ("recording",):
        seen: dict[str, dict[str, str]] = {}
        for one, part in zip(recordings, parts, strict=True):
            key = one.ship if unit == "ship" else one.name
            if key is not None and part != HELD_OUT:
                seen.setdefault(key, {}).setdefault(PART_NAMES[part], one.name)
        bad = {key: where for key, where in seen.items() if len(where) > 1}
        if bad:
            shown = "; ".join(
                f"{unit} {key} in "
                + " and ".join(f"{part} ({name})" for part, name in where.items())
                for key, where in list(bad.items())[:3]
            )
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise DataError(f"{source}: the split leaks: {shown}{more}")


def folds(
    recordings: Sequence[Recording], unit: str, count: int, seed: int
) -> list[tuple[Ints, Ints]]:
    """Rows for training and test of each of `count` folds, with units kept together."""
    labels = np.array([one.label for one in recordings])
    units = np.array(units_of(recordings, unit))
    made = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [(a, b) for a, b in made.split(labels, labels, units)]


def _unit(recordings: Sequence[Recording], wanted: str) -> str:
    if wanted == "segment":
        return "recording"  # the caller shares out the segments afterwards
    if wanted != "auto":
        return wanted
    known = [one for one in recordings if one.ship]
    return "ship" if len(known) == len(recordings) else "recording"


def _drawn(
    recordings: Sequence[Recording], units: Sequence[str], settings: DataSettings, seed: int
) -> Ints:
    labels = np.array([one.label for one in recordings])
    groups = np.array(units)
    parts = np.full(len(recordings), TRAIN, np.int64)
    rows = np.arange(len(recordings))
    rest = 1.0
    for part, share in (
        (TEST, settings.test_fraction),
        (VALIDATION, 1 - settings.train_fraction - settings.test_fraction),
    ):
        count = max(round(rest / share), 2)
        count = min(count, len(set(groups[rows])))
        made = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        # The first fold in which all classes are on both sides.
        chosen = None
        for kept, taken in made.split(labels[rows], labels[rows], groups[rows]):
            chosen = chosen if chosen is not None else taken
            if set(labels[rows][taken]) == set(labels) == set(labels[rows][kept]):
                chosen = taken
                break
        assert chosen is not None
        parts[rows[chosen]] = part
        rows = np.flatnonzero(parts == TRAIN)
        rest -= share
    return parts


def _with_validation(recordings: Sequence[Recording], parts: Ints, seed: int, source: str) -> Ints:
    """Parts as the data say; where they name no validation, a sixth of training becomes it."""
    if (parts == VALIDATION).any():
        return parts
    rows = np.flatnonzero(parts == TRAIN)
    some = [recordings[int(row)] for row in rows]
    _check_sizes(some, "ship", source, least=2)
    count = min(6, len(set(units_of(some, "ship"))))
    parts = parts.copy()
    parts[rows[folds(some, "ship", count, seed)[0][1]]] = VALIDATION
    return parts


def _check_sizes(
    recordings: Sequence[Recording], unit: str, source: str, least: int = LEAST_UNITS
) -> None:
    members: dict[str, set[str]] = {}
    for one, key in zip(recordings, units_of(recordings, unit), strict=True):
        members.setdefault(one.label, set()).add(key)
    if len(members) < 2:
        raise DataError(
            f"{source}: all recordings are of the class {next(iter(members), '(none)')!r}; "
            "expected two classes or more, one folder each"
        )
    small = {label: len(keys) for label, keys in members.items() if len(keys) < least}
    if small:
        shown = ", ".join(f"{label} ({count})" for label, count in sorted(small.items()))
        raise DataError(
            f"{source}: classes with fewer than {least} {unit}s cannot be in training, validation "
            f"and test: {shown}; give more recordings, or leave these classes out"
        )


def _check_classes(recordings: Sequence[Recording], parts: Ints, source: str) -> None:
    labels = np.array([one.label for one in recordings])
    for part in (TRAIN, VALIDATION, TEST):
        missing = sorted(set(labels) - set(labels[parts == part]))
        if missing and part != VALIDATION:
            raise DataError(
                f"{source}: the part {PART_NAMES[part]} has no recording of {', '.join(missing)}; "
                "give more recordings or ships of them, or another seed"
            )
        if not (parts == part).any():
            raise DataError(f"{source}: the part {PART_NAMES[part]} is empty")
