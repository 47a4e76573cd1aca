"""Whether experts know a factor, or only seem to: the same reading with shuffled labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

SHUFFLES = 199
MOST_POINTS = 20_000


class ShuffledControl:
    """Keeps a part of the points, and reads them anew with their labels in random order.

    Labels are exchanged between points. Points that lie close together are alike, so that a small
    p value says less than it seems where a series has few of them.

    Args:
        series: Series that will be added; each may give its share of `MOST_POINTS`.
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
        weights = np.concatenate(self._weights).astype(np.float64)
        flat = weights.reshape(len(weights), -1)
        random = np.random.default_rng(0)
        found = {}
        for factor, parts in self._labels.items():
            names, codes = np.unique(np.concatenate(parts).astype(str), return_inverse=True)

            def of(codes: Any, groups: int = len(names)) -> FloatArray:
                sums = [np.bincount(codes, column, groups) for column in flat.T]
                totals = np.stack(sums, axis=1).astype(np.float64)
                return read(totals.reshape(groups, *weights.shape[1:]))

            true = of(codes)
            orders = [random.permutation(codes) for _ in range(SHUFFLES)]
            shuffled = np.array([of(order) for order in orders])
            as_much = (shuffled >= true - 1e-12).sum(axis=0)
            found[factor] = {
                "shuffled": shuffled.mean(axis=0).tolist(),
                "p_value": ((1 + as_much) / (1 + SHUFFLES)).tolist(),
            }
        return found
