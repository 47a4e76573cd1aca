"""From recordings to features of their segments, a few segments in memory at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError, DataError
from moe_apps.models.acoustic import AcousticFeatures
from moe_apps.pipelines.acoustic.config import DataSettings
from moe_apps.pipelines.acoustic.recordings import Recording
from moe_apps.pipelines.acoustic.segments import segments_of
from moe_apps.pipelines.acoustic.sound_files import mono_blocks
from moe_apps.pipelines.atomic_files import written_whole
from moe_apps.pipelines.inference import in_batches

Ints = npt.NDArray[np.int64]
BATCH = 8
INT16 = 32767


@dataclass(frozen=True)
class Segments:
    """Segments of recordings.

    Attributes:
        inputs: features by name, `[n, ...]` float32.
        recording: number of the recording of each, `[n]`.
        start: seconds from the recording's beginning, `[n]`.
        label: number of the class of each, `[n]`; -1 where it is not known.
        waveforms: `[n, samples]` int16, scaled to full range one by one, or None.
    """

    inputs: dict[str, npt.NDArray[np.float32]]
    recording: Ints
    start: npt.NDArray[np.float64]
    label: Ints
    waveforms: npt.NDArray[np.int16] | None = None

    def __len__(self) -> int:
        return len(self.recording)

    def take(self, rows: Ints) -> Segments:
        """Some of the segments."""
        return Segments(
            {name: values[rows] for name, values in self.inputs.items()},
            self.recording[rows],
            self.start[rows],
            self.label[rows],
            None if self.waveforms is None else self.waveforms[rows],
        )


Piece = tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float32]]]


class Extractor:
    """Makes features of recordings, or finds them in the cache.

    The cache has a file for each recording, named by all that its content depends on: the file's
    path, size and time of change, the settings of segments and features. Files appear under
    their name only when they are whole, so several processes may share a folder.

    Args:
        features: the layer.
        settings: of segments, and the cache.
        waveforms: whether segments are kept as well; then nothing is taken from the cache.
    """

    def __init__(
        self, features: AcousticFeatures, settings: DataSettings, *, waveforms: bool = False
    ) -> None:
        self.settings, self.waveforms = settings, waveforms
        self._compute = in_batches(features, features, BATCH)
        self._key = json.dumps(
            {
                "features": {n: v for n, v in features.get_config().items() if n != "name"},
                **settings.model_dump(
                    include={"sample_rate", "segment", "overlap", "last", "short", "max_hours"}
                ),
            },
            sort_keys=True,
            default=str,
        )
        self.cache = Path(settings.cache) if settings.cache and not waveforms else None
        if self.cache is not None:
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"data.cache: {self.cache}: cannot be made: {error.strerror}"
                ) from None

    def of_file(self, file: Path) -> tuple[Piece, npt.NDArray[np.int16] | None]:
        """Features of a sound file.

        Raises:
            DataError: it cannot be read to its end.
        """
        cached = self._cached_file(file)
        if cached is not None and cached.is_file():
            found = _load(cached)
            if found is not None:
                return found, None
        blocks = mono_blocks(file, self.settings.sample_rate, 3600 * self.settings.max_hours)
        piece, waveforms = self.of_blocks(blocks)
        if cached is not None:
            with written_whole(cached) as temporary:
                np.savez(temporary, allow_pickle=False, start=piece[0], **piece[1])
        return piece, waveforms

    def of_blocks(
        self, blocks: Iterable[npt.NDArray[np.float32]]
    ) -> tuple[Piece, npt.NDArray[np.int16] | None]:
        """Features of a recording that comes block by block at the settings' rate."""
        starts: list[int] = []
        parts: list[dict[str, npt.NDArray[np.float32]]] = []
        kept: list[npt.NDArray[np.int16]] = []
        for batch_starts, batch in batched(segments_of(blocks, self.settings)):
            starts += batch_starts
            parts.append(self._compute(batch))
            if self.waveforms:
                peak = np.maximum(np.abs(batch).max(axis=1, keepdims=True), 1e-30)
                kept.append(np.round(batch / peak * INT16).astype(np.int16))
        start = np.array(starts, np.float64) / self.settings.sample_rate
        found = (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if parts
            else {}
        )
        return (start, found), np.concatenate(kept) if kept else None

    def _cached_file(self, file: Path) -> Path | None:
        if self.cache is None:
            return None
        state = file.stat()
        text = f"{file.resolve()}|{state.st_size}|{state.st_mtime_ns}|{self._key}"
        return self.cache / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"


def _load(file: Path) -> Piece | None:
    """What is in a file of the cache; None where it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = dict(loaded)
        return arrays.pop("start"), arrays
    except (OSError, ValueError, KeyError, EOFError):
        return None


def batched(
    segments: Iterator[tuple[int, npt.NDArray[np.float32]]],
) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
    """First samples and samples of `BATCH` segments at a time."""
    starts: list[int] = []
    rows: list[npt.NDArray[np.float32]] = []
    for start, samples in segments:
        starts.append(start)
        rows.append(samples)
        if len(rows) == BATCH:
            yield starts, np.stack(rows)
            starts, rows = [], []
    if rows:
        yield starts, np.stack(rows)


def extracted(
    recordings: Iterable[Recording],
    read: Callable[[Recording], tuple[Piece, npt.NDArray[np.int16] | None]],
    classes: tuple[str, ...],
    *,
    strict: bool,
    notes: list[str],
) -> tuple[Segments, list[Recording]]:
    """Segments of all recordings that can be read to their end, and these recordings.

    Args:
        recordings: in the order in which they are numbered.
        read: features of one; a `DataError` leaves it out, with a note.
        classes: names in the order of their numbers.
        strict: pass the error on instead.
        notes: gets what was left out.
    """
    number = {name: place for place, name in enumerate(classes)}
    found: list[Recording] = []
    pieces: list[Piece] = []
    waveforms: list[npt.NDArray[np.int16]] = []
    too_short = 0
    for one in recordings:
        try:
            piece, wave = read(one)
        except DataError as error:
            if strict:
                raise
            notes.append(f"skipped: {error}")
            continue
        if not len(piece[0]):
            too_short += 1
            continue
        found.append(one)
        pieces.append(piece)
        if wave is not None:
            waveforms.append(wave)
    if too_short:
        notes.append(f"{too_short} recordings are shorter than a segment and were left out")
    if not found:
        raise DataError("no recording can be used: " + (notes[0] if notes else "there are none"))
    counts = [len(piece[0]) for piece in pieces]
    recording = np.repeat(np.arange(len(found)), counts)
    label = np.array([number.get(one.label, -1) for one in found], np.int64)
    inputs: dict[str, Any] = {
        name: np.concatenate([piece[1][name] for piece in pieces]) for name in pieces[0][1]
    }
    return (
        Segments(
            inputs,
            recording,
            np.concatenate([piece[0] for piece in pieces]),
            label[recording],
            np.concatenate(waveforms) if waveforms else None,
        ),
        found,
    )
