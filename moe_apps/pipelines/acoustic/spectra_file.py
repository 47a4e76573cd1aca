"""Files of spectra that somebody else has computed, one or more for each recording."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moe_apps.errors import DataError
from moe_apps.pipelines.acoustic.recordings import Recording

Floats = npt.NDArray[np.float32]

SPECTRA_SUFFIX = ".npz"
IDS, GROUPS = ("id", "recording"), ("group", "ship")


@dataclass(frozen=True)
class SpectraFile:
    """Spectra of recordings.

    Attributes:
        names: of the kinds of spectra.
        spectra: `[recordings, bins, kinds]`, not below 0; shorter kinds are filled with 0.
        lengths: bins of each kind.
        recordings: name, class, ship and part of each.
        notes: what was found.
    """

    names: tuple[str, ...]
    spectra: Floats
    lengths: tuple[int, ...]
    recordings: list[Recording]
    notes: list[str]


def read_spectra(file: Path, *, labelled: bool = True) -> SpectraFile:
    """Read an .npz of spectra.

    Arrays: any `[recordings, bins]` of numbers are spectra; `label` (numbers or names); and, if
    they are there, `classes` (names for numbers), `id` or `recording`, and `group` or `ship`.

    Raises:
        DataError: it is no such file, or an array does not fit.
    """
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise DataError(f"{file}: is no .npz of plain arrays: {error}") from None
    kinds = {name: a for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "fiu"}
    if not kinds:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise DataError(f"{file}: has no spectra [recordings, bins]; found {found}")
    count = len(next(iter(kinds.values())))
    for name, array in kinds.items():
        if len(array) != count or not count:
            raise DataError(f"{file}: {name} has {len(array)} rows, expected {count}, at least 1")
        values = array.astype(np.float64)
        wrong = ~np.isfinite(values) | (values < 0)
        if wrong.any():
            row, place = np.argwhere(wrong)[0]
            raise DataError(
                f"{file}: {name}[{row}, {place}] is {array[row, place]}; spectra are finite and "
                "not below 0"
            )
    labels = _labels(file, arrays, count, labelled)
    ids = _texts(file, arrays, IDS, count) or [str(number) for number in range(count)]
    if len(set(ids)) < count:
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"{file}: recording {twice!r} is there more than once")
    ships = _texts(file, arrays, GROUPS, count)
    bins = max(array.shape[1] for array in kinds.values())
    spectra = np.stack(
        [np.pad(a.astype(np.float32), ((0, 0), (0, bins - a.shape[1]))) for a in kinds.values()], -1
    )
    recordings = [
        Recording(name, label, ship=ships[n] if ships else None)
        for n, (name, label) in enumerate(zip(ids, labels, strict=True))
    ]
    notes = [] if ships else ["no array group or ship: ships are unknown"]
    return SpectraFile(
        tuple(kinds), spectra, tuple(a.shape[1] for a in kinds.values()), recordings, notes
    )


def _labels(
    file: Path, arrays: dict[str, npt.NDArray[np.generic]], count: int, wanted: bool
) -> list[str]:
    label = arrays.get("label")
    if label is None:
        if wanted:
            raise DataError(f"{file}: has no array label; found {', '.join(arrays)}")
        return [""] * count
    if label.shape != (count,):
        raise DataError(f"{file}: label has shape {label.shape}, expected ({count},)")
    classes = arrays.get("classes")
    if classes is not None and label.dtype.kind in "iu":
        if not 0 <= int(label.min()) <= int(label.max()) < len(classes):
            raise DataError(f"{file}: label has numbers beyond the {len(classes)} of classes")
        return [str(classes[int(number)]) for number in label]
    return [str(one) for one in label]


def _texts(
    file: Path, arrays: dict[str, npt.NDArray[np.generic]], names: tuple[str, ...], count: int
) -> list[str] | None:
    name = next((name for name in names if name in arrays), None)
    if name is None:
        return None
    if arrays[name].shape != (count,):
        raise DataError(f"{file}: {name} has shape {arrays[name].shape}, expected ({count},)")
    return [str(one) for one in arrays[name]]
