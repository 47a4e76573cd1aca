"""What a served forecaster does to the history it is given: checks, filling, scaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from moe_apps.models.forecasting.window_scaling import window_statistics


def fill_missing(history: Any) -> tuple[Any, Any]:
    """Fill as the reader does: by the last observed value, at the beginning by the first.

    Args:
        history: float32 `[batch, time]`; NaN and infinities count as missing.

    Returns:
        The filled history, 0 in series without any observed value, and `[batch, 1]` whether
        there is one.

    Example:
        >>> fill_missing(tf.constant([[np.nan, 1.0, np.nan, 3.0]]))[0].numpy().tolist()
        [[1.0, 1.0, 1.0, 3.0]]
    """
    observed = tf.math.is_finite(history)
    time = tf.shape(history)[1]
    position = tf.range(time)
    # Observed values to the front, in order; a point takes the last of those up to it.
    order = tf.argsort(tf.where(observed, position, position + time), axis=1)
    values = tf.gather(history, order, batch_dims=1)
    latest = tf.maximum(tf.cumsum(tf.cast(observed, tf.int32), axis=1) - 1, 0)
    known = tf.reduce_any(observed, axis=1, keepdims=True)
    return tf.where(known, tf.gather(values, latest, batch_dims=1), 0.0), known


def prepared(history: Any, look_back: int) -> tuple[Any, Callable[[Any], Any]]:
    """What the model gets, and how its answer becomes one in the units of the history."""
    filled, known = fill_missing(history)
    scaled, unscaled = scaled_history(filled[:, -look_back:])
    return scaled, lambda values: tf.where(known, unscaled(values), np.nan)


def scaled_history(history: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The history with mean 0 and standard deviation 1, and how to go back.

    In two steps: float32 sums over values far from 0, or squares of huge or tiny ones, would lose
    what varies.
    """
    centre = tf.reduce_mean(history, axis=1, keepdims=True)
    size = tf.reduce_max(tf.abs(history - centre), axis=1, keepdims=True)
    unit = tf.math.divide_no_nan(history - centre, size)  # within [-1, 1]
    mean, scale = window_statistics(unit)
    return (unit - mean) / scale, lambda values: (values * scale + mean) * size + centre


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """The inputs behind checks that say in the graph what is wrong with them."""
    history, horizon = _checked_history(given["history"]), given["horizon"]
    if not isinstance(horizon, int):
        horizon = _checked_horizon(horizon)
    given = {**given, "history": history, "horizon": horizon}
    if "covariates" in given:
        check = tf.debugging.assert_equal(
            tf.shape(given["covariates"])[1],
            tf.shape(history)[1] + horizon,
            "covariates must have as many time steps as history and horizon together",
        )
        with tf.control_dependencies([check]):
            given["covariates"] = tf.identity(given["covariates"])
    return given


def _checked_history(history: Any) -> Any:
    message = "history must have at least 1 series and 1 time step"
    check = tf.debugging.assert_greater_equal(tf.size(history), 1, message)
    with tf.control_dependencies([check]):
        return tf.identity(history)


def _checked_horizon(horizon: Any) -> Any:
    check = tf.debugging.assert_greater_equal(horizon, 1, "horizon must be at least 1")
    with tf.control_dependencies([check]):
        return tf.identity(horizon)
