"""Unpacked images of training pairs, kept in memory up to a limit."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy.typing as npt

from moe_apps.pipelines.deraining.pairs import Pair

Pixels = npt.NDArray[Any]


class PairCache:
    """Reads pairs, and keeps the first ones that fit into memory.

    Args:
        megabytes: most memory for pixels; pairs beyond it are read again each time.
        max_megapixels: largest image that is opened.

    Example:
        >>> PairCache(megabytes=100).read(pair)  # doctest: +SKIP
    """

    def __init__(self, megabytes: int, max_megapixels: float = 100.0) -> None:
        self._left = megabytes * 1_000_000
        self._max_megapixels = max_megapixels
        self._kept: dict[str, tuple[Pixels, Pixels]] = {}
        self._lock = Lock()  # tf.data reads from several threads

    def read(self, pair: Pair) -> tuple[Pixels, Pixels]:
        """Degraded and clean pixels of a pair."""
        if pair.name in self._kept:
            return self._kept[pair.name]
        rainy, clean = (picture.pixels for picture in pair.read(self._max_megapixels))
        with self._lock:
            if pair.name not in self._kept and rainy.nbytes + clean.nbytes <= self._left:
                self._left -= rainy.nbytes + clean.nbytes
                self._kept[pair.name] = rainy, clean
        return rainy, clean
