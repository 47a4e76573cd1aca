"""Sound files as mono blocks at one rate, streamed; and what is wrong with a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import ConfigError, DataError

Samples = npt.NDArray[np.float32]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".w64", ".rf64")
BLOCK = 1 << 18
"""Frames that are read at once, of all channels."""
MOST_CHANNELS = 64


@dataclass(frozen=True)
class SoundFacts:
    """What the header of a file says.

    Attributes:
        seconds: its length.
        rate: Hz.
        channels: how many.
        format: such as "WAV PCM_16".
    """

    seconds: float
    rate: int
    channels: int
    format: str


def is_sound(path: Path) -> bool:
    """Whether a file has the suffix of one that is read, in any case of letters.

    >>> is_sound(Path("A/1.WAV")), is_sound(Path("notes.txt"))
    (True, False)
    """
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def sound_facts(path: Path) -> SoundFacts:
    """Read the header of a file.

    Raises:
        DataError: it is no sound file, is empty, or has an impossible rate or channel count.
    """
    with _opened(path) as file:
        return SoundFacts(
            file.frames / file.samplerate,
            file.samplerate,
            file.channels,
            f"{file.format} {file.subtype}",
        )


def mono_blocks(
    path: Path, sample_rate: int, max_seconds: float = float("inf")
) -> Iterator[Samples]:
    """Yield a file's mean over channels at another rate, block by block.

    Memory does not grow with the file's length. Resampling is soxr's, of high quality.

    Args:
        path: the file.
        sample_rate: Hz.
        max_seconds: where to stop.

    Raises:
        DataError: it cannot be read, ends before its header says, or holds NaN or infinity.
    """
    with _opened(path) as file:
        rate = file.samplerate
        stream = resampler(rate, sample_rate)
        most = int(min(file.frames, max_seconds * rate))
        seen = 0
        while seen < most:
            try:
                block = file.read(min(BLOCK, most - seen), dtype="float32", always_2d=True)
            except RuntimeError as error:  # LibsndfileError is one
                raise DataError(f"{path}: breaks off at {seen / rate:.1f} s: {error}") from None
            if not len(block):
                raise DataError(
                    f"{path}: ends at {seen / rate:.1f} s; its header says "
                    f"{file.frames / rate:.1f} s"
                )
            mono = block.mean(axis=1)
            if not np.isfinite(mono).all():
                place = seen + int(np.flatnonzero(~np.isfinite(mono))[0])
                raise DataError(
                    f"{path}: has NaN or infinity at {place / rate:.3f} s; expected finite samples"
                )
            seen += len(block)
            found = stream(mono, seen >= most)
            if len(found):
                yield found


def resampler(rate: int, wanted: int) -> Any:
    """A function of a block and whether it is the last one to the block at another rate.

    >>> half = resampler(16000, 8000)
    >>> len(half(np.zeros(1600, np.float32), True))
    800
    """
    if rate == wanted:
        return lambda block, last: block
    import soxr

    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
    return lambda block, last: stream.resample_chunk(
        np.ascontiguousarray(block, np.float32), last=last
    )


def check_installed() -> None:
    """Raise `ConfigError` where packages that read or draw sound are missing."""
    missing = [name for name in ("librosa", "soundfile", "soxr") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: not installed; install by pip install 'moe-apps[audio]'"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    check_installed()
    import soundfile

    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: is empty")
        file = soundfile.SoundFile(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (soundfile.LibsndfileError, TypeError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        raise DataError(f"{path}: is no sound file that can be read: {reason}") from None
    with file:
        if file.frames <= 0:
            raise DataError(f"{path}: holds no samples")
        if not 100 <= file.samplerate <= 10_000_000:
            raise DataError(f"{path}: says a sample rate of {file.samplerate} Hz")
        if file.channels > MOST_CHANNELS:
            raise DataError(f"{path}: says {file.channels} channels, at most {MOST_CHANNELS}")
        yield file
