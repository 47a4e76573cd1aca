"""A picture with inputs and results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.deraining.image_files import Picture, write_picture

Image = npt.NDArray[np.uint8]
WIDTH = 560
"""Most pixels of an image's width on the sheet."""
GAP, CAPTION = 8, 26


def write_sheet(rows: Sequence[tuple[str, Image, Image]], path: Path) -> None:
    """Write name, input and result of several images, one under the other.

    Args:
        rows: name, input and result, `[height, width, 3]` uint8.
        path: image file to write.
    """
    parts = [_row(*row) for row in rows]
    width = max(part.shape[1] for part in parts)
    white = [
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255)
        for part in parts
    ]
    write_picture(path, Picture(np.concatenate(white)))


def _row(name: str, before: Image, after: Image) -> Image:
    scale = min(WIDTH / before.shape[1], 1.0)
    size = (max(int(before.shape[1] * scale), 1), max(int(before.shape[0] * scale), 1))
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (before, after)]
    gap = np.full((size[1], GAP, 3), 255, np.uint8)
    joined = np.concatenate([small[0], gap, small[1]], axis=1)
    head = np.full((CAPTION, joined.shape[1], 3), 255, np.uint8)
    cv2.putText(
        head,
        f"{name}: input, result",
        (2, 18),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.45,
        (30, 30, 30),
        1,
        cv2.LINE_AA,
    )
    return np.asarray(np.concatenate([head, joined]), np.uint8)
