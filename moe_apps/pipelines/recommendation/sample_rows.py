"""A uniform sample of rows of a stream whose length is not known."""

from __future__ import annotations

import numpy as np

from moe_apps.pipelines.recommendation.table import Table


class RowSample:
    """At most `limit` rows of a stream, each row with the same chance.

    Every row draws a number; those with the smallest stay. Memory is that of 2 `limit` rows and
    a chunk.

    Args:
        limit: Rows kept, at least 1.
        seed: Seed of the draws.

    Example:
        >>> sample = RowSample(3, seed=0)
        >>> for start in range(0, 10, 5):
        ...     sample.add(Table({"x": np.arange(start, start + 5, dtype=np.float32)}))
        >>> len(sample.table())
        3
    """

    def __init__(self, limit: int, seed: int) -> None:
        self.limit = limit
        self._random = np.random.default_rng(seed)
        self._tables: list[Table] = []
        self._draws: list[np.ndarray] = []
        self._largest = 1.0

    def add(self, table: Table) -> None:
        """Offer the next rows."""
        draws = self._random.random(len(table))
        rows = np.flatnonzero(draws < self._largest)
        if not len(rows):
            return
        self._tables.append(table.take(rows))
        self._draws.append(draws[rows])
        if sum(map(len, self._draws)) > 2 * self.limit:
            self._shrink()

    def _shrink(self) -> None:
        draws = np.concatenate(self._draws)
        if len(draws) <= self.limit:
            return
        self._largest = float(np.partition(draws, self.limit)[self.limit])
        rows = np.flatnonzero(draws < self._largest)
        self._tables = [Table.concatenate(self._tables).take(rows)]
        self._draws = [draws[rows]]

    def table(self) -> Table:
        """The sample, in the order of the stream."""
        self._shrink()
        return Table.concatenate(self._tables)
