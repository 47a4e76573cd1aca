"""Whether experts know a factor, or only seem to: the same reading with shuffled labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

SHUFFLES = 199
MOST_POINTS = 20_000
BLOCKS = 20
"""Parts of a series whose labels stay together."""


class ShuffledControl:
    """Keeps a part of the points, and reads them anew with their labels in random order.

    Neighbours in time are alike, in their routing and in their labels, so that single labels in
    random order would make nearly everything look like knowledge. Labels are exchanged in blocks of
    consecutive points, a twentieth of the shortest series, among all series. A block is no multiple
    of a day or week, or its labels would keep their hours. What lasts longer than a block by chance
    still looks like knowledge now and then.

    Args:
        series: Series that will be added; each may give its share of `MOST_POINTS`.

    Source: Kuensch 1989, "The Jackknife and the Bootstrap for General Stationary Observations",
    Annals of Statistics 17 (blocks instead of points).
    """

    def __init__(self, series: int) -> None:
        self.share = max(MOST_POINTS // max(series, 1), 1)
        self._weights: list[FloatArray] = []
        self._labels: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, weights: FloatArray, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Add a series: weights `[points, layers, experts]` and the labels of its points."""
        kept = np.linspace(0, len(weights) - 1, min(self.share, len(weights))).astype(int)
        self._weights.append(weights[kept])
        for factor, names in labels.items():
            self._labels.setdefault(factor, []).append(names[kept])

    def result(self, read: Callable[[FloatArray], FloatArray]) -> dict[str, dict[str, list[float]]]:
        """By factor and layer what `read` finds by chance, and how often it finds as much.

        Args:
            read: weights summed by group `[groups, layers, experts]` to `[layers]`.

        Returns:
            By factor `shuffled`, the mean over shuffles, and `p_value`, the share of shuffles that
            reach what is found with the true labels, itself counted.
        """
        block = _block(min(map(len, self._weights)))
        weights = _whole(self._weights, block).astype(np.float64)
        flat = weights.reshape(len(weights), -1)
        random = np.random.default_rng(0)
        found = {}
        for factor, parts in self._labels.items():
            names, codes = np.unique(_whole(parts, block).astype(str), return_inverse=True)

            def of(codes: Any, groups: int = len(names)) -> FloatArray:
                sums = [np.bincount(codes, column, groups) for column in flat.T]
                totals = np.stack(sums, axis=1).astype(np.float64)
                return read(totals.reshape(groups, *weights.shape[1:]))

            true = of(codes)
            blocks = codes.reshape(-1, block)
            orders = [random.permutation(blocks).reshape(-1) for _ in range(SHUFFLES)]
            shuffled = np.array([of(order) for order in orders])
            as_much = (shuffled >= true - 1e-12).sum(axis=0)
            found[factor] = {
                "shuffled": shuffled.mean(axis=0).tolist(),
                "p_value": ((1 + as_much) / (1 + SHUFFLES)).tolist(),
            }
        return found


def _block(shortest: int) -> int:
    """Points of a block: a twentieth, less what it has in common with days of 24 and weeks.

    >>> _block(2785), _block(480), _block(30)
    (139, 23, 1)
    """
    block = max(shortest // BLOCKS, 1)
    while math.gcd(block, 24 * 7) > 1:
        block -= 1
    return block


def _whole(parts: list[npt.NDArray[Any]], block: int) -> npt.NDArray[Any]:
    """All parts end to end, each cut to whole blocks."""
    return np.concatenate([part[: len(part) // block * block] for part in parts])
