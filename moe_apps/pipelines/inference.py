"""Calling a model on many rows: compiled once for one batch shape, on either backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def in_batches(
    model: keras.Model, answer: Callable[..., Any], batch_size: int
) -> Callable[..., Any]:
    """Return `answer` as a function of NumPy arrays with any number of rows.

    Args:
        model: The model whose weights `answer` uses; it follows their later changes.
        answer: Tensors `[batch_size, ...]` (or nested ones, or `None`) to tensors
            `[batch_size, ...]`, nested as they like.
        batch_size: Rows of one call; the last call is filled up with the last row.

    Returns:
        Arrays `[rows, ...]`, nested as `answer` takes them, to arrays nested as it gives them.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> in_batches(model, model, 4)(np.ones((5, 2), "float32")).shape
        (5, 1)
    """
    compiled = _compiled(model, answer)

    def run(*arguments: Any) -> Any:
        count = len(keras.tree.flatten(arguments)[0])
        # One shape is compiled once.
        rows = np.minimum(np.arange(-(-count // batch_size) * batch_size), count - 1)
        parts = [
            keras.tree.map_structure(
                np.asarray, compiled(*keras.tree.map_structure(_rows(part), arguments))
            )
            for part in np.split(rows, max(len(rows) // batch_size, 1))
        ]
        return keras.tree.map_structure(lambda *part: np.concatenate(part)[:count], *parts)

    return run


def _rows(part: np.ndarray) -> Callable[[Any], Any]:
    return lambda array: None if array is None else keras.ops.convert_to_tensor(array[part])


def _compiled(model: keras.Model, answer: Callable[..., Any]) -> Callable[..., Any]:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(answer, reduce_retracing=True, autograph=False)
    import jax

    weights = model.weights

    # Weights go in as arguments: what a jitted function closes over is frozen into it.
    @jax.jit
    def pure(values: list[Any], arguments: tuple[Any, ...]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
            return answer(*arguments)

    return lambda *arguments: pure([weight.value for weight in weights], arguments)
