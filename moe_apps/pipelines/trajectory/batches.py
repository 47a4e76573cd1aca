"""Which windows are trained on and judged, and training batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.trajectory.labels import KEEP
from moe_apps.pipelines.trajectory.windows import WindowCutter, Windows

if TYPE_CHECKING:
    import tensorflow as tf

Ints = npt.NDArray[np.int64]


def balanced_rows(
    cutter: WindowCutter, rows: Ints, keep_share: float, most: int, seed: int
) -> Ints:
    """Of `rows`, all before lane changes and so many others that these are `keep_share` of all.

    Where the lane is never changed, all are of the others. More than `most` are thinned out at
    random, with the shares kept.

    Example:
        >>> from moe_apps.pipelines.trajectory.config import DataSettings
        >>> from moe_apps.pipelines.trajectory.tracks import Tracks
        >>> lane = [0] * 40 + [1] * 60
        >>> one = {"vehicle": 1, "frame": range(100), "x": np.arange(100.0), "lane": lane}
        >>> cutter = WindowCutter(Tracks.of(one, rate=5), DataSettings())
        >>> chosen = balanced_rows(cutter, cutter.rows(), 0.5, most=100, seed=0)
        >>> np.bincount(cutter.intention[chosen]).tolist()
        [15, 15]
    """
    rng = np.random.default_rng(seed)
    changes = rows[cutter.intention[rows] > KEEP]
    others = rows[cutter.intention[rows] <= KEEP]
    if len(changes):
        wanted = round(len(changes) * keep_share / (1 - keep_share))
        others = rng.choice(others, min(wanted, len(others)), replace=False)
    chosen = np.concatenate([changes, others])
    if len(chosen) > most:
        chosen = rng.choice(chosen, most, replace=False)
    return np.sort(chosen)


def spread(rows: Ints, most: int) -> Ints:
    """Of `rows`, at most `most`, evenly spread.

    >>> spread(np.arange(10), 3).tolist()
    [0, 4, 9]
    """
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def training_batches(
    windows: Windows, batch_size: int, seed: int, steps_per_epoch: int | None
) -> ShuffledBatches:
    """Shuffled batches of (inputs, {"future", "intention"})."""
    import tensorflow as tf

    inputs = {name: tf.constant(values) for name, values in windows.inputs.items()}
    targets = {
        "future": tf.constant(windows.future),
        "intention": tf.constant(windows.intention.astype(np.int32)),
    }

    def gather(numbers: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        return (
            {name: tf.gather(values, numbers) for name, values in inputs.items()},
            {name: tf.gather(values, numbers) for name, values in targets.items()},
        )

    return ShuffledBatches(gather, len(windows), batch_size, seed, steps_per_epoch)
