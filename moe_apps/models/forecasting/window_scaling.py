"""Mean and scale of a history window."""

from __future__ import annotations

from typing import Any

from keras import ops


def window_statistics(history: Any, mask: Any = None) -> tuple[Any, Any]:
    """Mean and standard deviation of each window over its real points.

    A constant window gets scale 1, so that nothing is divided by 0.

    Args:
        history: `(batch, time)`.
        mask: boolean `(batch, time)`, true for real points; None: all are real.

    Returns:
        Mean and scale, each `(batch, 1)`.

    Example:
        >>> mean, scale = window_statistics(ops.array([[1.0, 3.0], [5.0, 5.0]]))
        >>> [float(value) for value in mean[:, 0]]
        [2.0, 5.0]
    """
    keep = ops.ones_like(history) if mask is None else ops.cast(mask, history.dtype)
    count = ops.maximum(ops.sum(keep, axis=1, keepdims=True), 1.0)
    mean = ops.sum(history * keep, axis=1, keepdims=True) / count
    variance = ops.sum(ops.square(history - mean) * keep, axis=1, keepdims=True) / count
    scale = ops.sqrt(variance)
    # Below float32 resolution the window is constant, and its spread is rounding.
    constant = scale <= 1e-6 * ops.maximum(ops.abs(mean), 1e-6)
    return mean, ops.where(constant, 1.0, scale)
