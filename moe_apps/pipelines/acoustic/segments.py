"""Recordings cut into segments, as they stream by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.acoustic.config import DataSettings

Samples = npt.NDArray[np.float32]


def segments_of(blocks: Iterable[Samples], settings: DataSettings) -> Iterator[tuple[int, Samples]]:
    """Yield the first sample and the samples of each segment of a recording.

    What is left at the end, and recordings shorter than a segment, go by `settings.last` and
    `settings.short`. Of a recording with a whole segment, a rest of less than a tenth of the hop
    is always dropped.

    Args:
        blocks: the recording at `settings.sample_rate`, in pieces of any length.
        settings: length, overlap and policies.

    Example:
        >>> settings = DataSettings(sample_rate=1000, segment=1.0, last="pad")
        >>> [(start, len(x)) for start, x in segments_of([np.ones(2500, "float32")], settings)]
        [(0, 1000), (1000, 1000), (2000, 1000)]
    """
    length, hop = settings.samples, settings.hop
    kept = np.zeros(0, np.float32)  # from sample `first` on
    first = start = 0
    for block in blocks:
        kept = np.concatenate([kept, block])
        while start + length <= first + len(kept):
            yield start, kept[start - first : start - first + length].copy()
            start += hop
        # A shifted last segment reaches back by less than its length.
        done = max(first + len(kept) - length, first)
        done = min(done, max(start, first))
        kept, first = kept[done - first :], done
    total = first + len(kept)
    if start == 0:
        if total and settings.short != "skip":
            yield 0, _filled(kept, length, settings.short)
        return
    rest = total - (start - hop + length)  # samples that are in no segment
    if rest < max(0.1 * hop, 1) or settings.last == "drop":
        return
    if settings.last == "shift":
        yield total - length, kept[len(kept) - length :].copy()
    else:
        yield start, _filled(kept[start - first :], length, "pad")


def _filled(samples: Samples, length: int, policy: str) -> Samples:
    if policy == "repeat":
        return np.resize(samples, length)
    return np.pad(samples, (0, length - len(samples)))
