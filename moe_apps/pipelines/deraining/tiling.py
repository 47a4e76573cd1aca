"""Images of any size through a model, in overlapping tiles that are blended smoothly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Restore = Callable[[FloatArray, Any], FloatArray]


def padded(image: npt.NDArray[Any], multiple: int, least: int = 0) -> npt.NDArray[Any]:
    """The image mirrored beyond its lower and right end to multiples of a number.

    An image is mirrored without its last row or column, several times where it is smaller than
    what is missing; one pixel is repeated.

    Example:
        >>> padded(np.zeros((7, 5, 3)), 8).shape, padded(np.zeros((1, 1, 3)), 8).shape
        ((8, 8, 3), (8, 8, 3))
    """
    for axis in (0, 1):
        side = image.shape[axis]
        missing = max(-(-side // multiple) * multiple, least) - side
        if missing:
            width = [(0, 0)] * image.ndim
            width[axis] = (0, missing)
            image = np.pad(image, width, mode="reflect" if side > 1 else "edge")
    return image


def starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side so that neighbours share at least `overlap` pixels.

    Example:
        >>> starts(100, 40, 8)
        [0, 30, 60]
    """
    if side <= tile:
        return [0]
    count = -(-(side - overlap) // (tile - overlap))
    return [round(number * (side - tile) / (count - 1)) for number in range(count)]


def window(tile: int, overlap: int) -> FloatArray:
    """Weights of a tile's pixels along a side: 1 inside, a cosine down to near 0 at either end.

    Example:
        >>> [round(float(weight), 2) for weight in window(8, 2)]
        [0.15, 0.85, 1.0, 1.0, 1.0, 1.0, 0.85, 0.15]
    """
    weights = np.ones(tile, np.float32)
    if overlap:
        rise = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2
        weights[:overlap] = rise
        weights[tile - overlap :] = rise[::-1]
    return weights


def restore_tiled(
    image: npt.NDArray[Any],
    restore: Restore,
    *,
    tile: int = 256,
    overlap: int = 48,
    multiple: int = 8,
    routing: Any = None,
    on_tile: Callable[[], None] | None = None,
) -> FloatArray:
    """Restore an image tile by tile.

    Every tile has the same shape, so that a compiled model is traced once. Only one row of tiles
    and the result are in memory beside the image.

    Args:
        image: `[height, width, 3]`, uint8 or uint16, or float in [0, 1].
        restore: tile `[1, tile, tile, 3]` in [0, 1] and routing to the restored tile.
        tile: side of a tile, a multiple of `multiple`.
        overlap: pixels that neighbours share at least.
        multiple: what the model needs sides to be a multiple of.
        routing: what the whole image's gates said, handed to every tile.
        on_tile: called after each tile.

    Returns:
        `[height, width, 3]` float32 in [0, 1].

    Example:
        >>> image = np.random.default_rng(0).random((50, 70, 3)).astype("float32")
        >>> same = restore_tiled(image, lambda x, routing: x, tile=32, overlap=8)
        >>> bool(np.allclose(same, image, atol=1e-6))
        True
    """
    height, width = image.shape[:2]
    total = np.zeros((height, width, 3), np.float32)
    rows = starts(height, tile, overlap)
    columns = starts(width, tile, overlap)
    weight_rows, weight_columns = (
        _summed(begin, side, tile, overlap) for begin, side in ((rows, height), (columns, width))
    )
    for top, left in _corners(rows, columns):
        part = image[top : top + tile, left : left + tile]
        inside = part.shape[:2]
        answer = restore(padded(as_unit(part), multiple, tile)[None], routing)[0]
        answer = np.asarray(answer)[: inside[0], : inside[1]]
        here_rows = _ends(top, height, tile, overlap)[: inside[0]]
        here_columns = _ends(left, width, tile, overlap)[: inside[1]]
        here_rows = here_rows / weight_rows[top : top + inside[0]]
        here_columns = here_columns / weight_columns[left : left + inside[1]]
        total[top : top + tile, left : left + tile] += (
            here_rows[:, None, None] * here_columns[None, :, None] * answer
        )
        if on_tile:
            on_tile()
    return np.clip(total, 0, 1)


def tile_count(height: int, width: int, tile: int, overlap: int) -> int:
    """Number of tiles of an image."""
    return len(starts(height, tile, overlap)) * len(starts(width, tile, overlap))


def as_unit(image: npt.NDArray[Any]) -> FloatArray:
    """Pixels in [0, 1], float32."""
    if image.dtype.kind == "u":
        return (image / np.float32(np.iinfo(image.dtype).max)).astype(np.float32)
    return image.astype(np.float32)


def _corners(rows: list[int], columns: list[int]) -> Iterator[tuple[int, int]]:
    for top in rows:
        for left in columns:
            yield top, left


def _ends(start: int, side: int, tile: int, overlap: int) -> FloatArray:
    """The window of a tile, without its falling ends where the image ends too."""
    weights = window(tile, overlap)
    if start == 0:
        weights[:overlap] = 1
    if start + tile >= side:
        weights[tile - overlap :] = 1
    return weights


def _summed(begin: list[int], side: int, tile: int, overlap: int) -> FloatArray:
    """Sum over the tiles of their windows, along a side."""
    total = np.zeros(max(side, tile), np.float32)
    for start in begin:
        total[start : start + tile] += _ends(start, side, tile, overlap)
    return total[:side]
