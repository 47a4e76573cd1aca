"""Arrays in memory or on disk as shuffled training batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from moe_apps.pipelines.batches import ShuffledBatches

Arrays = Mapping[str, npt.NDArray[Any]]


def training_batches(
    inputs: Arrays, targets: Arrays, batch_size: int, seed: int, steps_per_epoch: int | None = None
) -> ShuffledBatches:
    """Shuffled batches of rows; a memory-mapped file is read row by row as they are needed.

    Args:
        inputs: The model's inputs by name, `[rows, ...]`.
        targets: Its targets by task, `[rows]`.
        batch_size: Rows a batch; no more than there are.
        seed: Seed of the order.
        steps_per_epoch: Batches an epoch; None for all rows.

    Example:
        >>> rows = {"dense": np.arange(4, dtype=np.float32)[:, None]}
        >>> batches = training_batches(rows, {"y": np.zeros(4, np.float32)}, 2, seed=0)
        >>> next(iter(batches.from_epoch(0)))[0]["dense"].shape.as_list()
        [2, 1]
    """
    rows = len(next(iter(targets.values())))
    size = min(batch_size, rows)
    return ShuffledBatches(_gather(inputs, targets, size), rows, size, seed, steps_per_epoch)


def _gather(inputs: Arrays, targets: Arrays, size: int) -> Callable[[tf.Tensor], Any]:
    arrays = [*inputs.values(), *targets.values()]

    def take(numbers: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        return [np.ascontiguousarray(array[numbers]) for array in arrays]

    def gather(numbers: tf.Tensor) -> Any:
        found = tf.numpy_function(
            take, [numbers], [tf.as_dtype(array.dtype) for array in arrays], stateful=False
        )
        for tensor, array in zip(found, arrays, strict=True):
            tensor.set_shape((size, *array.shape[1:]))
        named = dict(zip([*inputs, *(("", name) for name in targets)], found, strict=True))
        return (
            {name: named[name] for name in inputs},
            {name: named["", name] for name in targets},
        )

    return gather
