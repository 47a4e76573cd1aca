"""Finding the best of very many keys that are pairs of two lists' entries."""

from __future__ import annotations

from typing import Any

from keras import ops


def product_key_top_k(first: Any, second: Any, k: int) -> tuple[Any, Any]:
    """The k largest of all sums `first[i] + second[j]`, exactly, without forming them.

    A pair of the k best has its parts among the k best of either list, so `k^2` sums suffice.

    Source: Lample et al. 2019, "Large Memory Layers with Product Keys", arXiv 1907.05242.

    Args:
        first: `(..., n)`.
        second: `(..., m)`.
        k: number of pairs, at most `n * m`.

    Returns:
        Sums `(..., k)`, best first, and int32 indices `i * m + j` `(..., k)`.

    Example:
        >>> values, indices = product_key_top_k(ops.array([0.0, 5.0]), ops.array([3.0, 1.0]), 2)
        >>> [float(value) for value in values], [int(index) for index in indices]
        ([8.0, 6.0], [2, 3])
    """
    n, m = first.shape[-1], second.shape[-1]
    if not 1 <= k <= n * m:
        raise ValueError(f"`k` must be in [1, {n * m}], the number of pairs. Received: k={k}")
    best_first, rows = ops.top_k(first, min(k, n))
    best_second, columns = ops.top_k(second, min(k, m))
    sums = best_first[..., :, None] + best_second[..., None, :]
    values, cells = best_cells(sums, k)
    return values, pair_index(rows, columns, cells, m)


def best_cells(grid: Any, k: int) -> tuple[Any, Any]:
    """Values and int32 flat positions of the k largest cells of `(..., rows, columns)`."""
    shape = ops.shape(grid)
    values, cells = ops.top_k(ops.reshape(grid, (*shape[:-2], grid.shape[-2] * grid.shape[-1])), k)
    return values, ops.cast(cells, "int32")


def pair_index(rows: Any, columns: Any, cells: Any, size: int) -> Any:
    """Indices `i * size + j` of the pairs that lie in cells of a grid of candidates.

    Args:
        rows: `(..., a)`, the entry i of each row of the grid.
        columns: `(..., b)`, the entry j of each column.
        cells: `(..., k)`, flat positions in the grid `(a, b)`.
        size: length of the list that the columns are from.
    """
    width = columns.shape[-1]
    row = ops.take_along_axis(ops.cast(rows, "int32"), cells // width, axis=-1)
    column = ops.take_along_axis(ops.cast(columns, "int32"), cells % width, axis=-1)
    return row * size + column
