"""Losses of trajectories and intention, weighted by learned uncertainties."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from moe_apps.models.trajectory.tasks import TASKS

LOWEST, HIGHEST = -6.0, 6.0
"""Bounds of a log-variance, so that no task's weight runs away."""


@keras.saving.register_keras_serializable(package="moe_apps.trajectory")
class UncertaintyWeighting(keras.layers.Layer):
    """Sum of task losses, each weighted by a learned uncertainty.

    With `s = log sigma^2` of each task: `exp(-s) / 2 * loss + s / 2` for a squared error,
    `exp(-s) * loss + s / 2` for a cross-entropy. The sum may fall below 0, so the epoch is chosen
    by a metric.

    Source: Kendall, Gal & Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics", CVPR, arXiv 1705.07115.

    Call arguments:
        losses: `(3,)` in the order of `TASKS`: two squared errors, a cross-entropy.

    Example:
        >>> layer = UncertaintyWeighting()
        >>> round(float(layer(ops.array([2.0, 4.0, 1.0]))), 6)  # all log-variances are 0 at first
        4.0
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def build(self, input_shape: Any = None) -> None:
        # A name with "scale" in it is not decayed.
        self.log_variance = self.add_weight(
            name="log_variance_scale", shape=(len(TASKS),), initializer="zeros"
        )
        self.built = True

    def call(self, losses: Any) -> Any:
        s = ops.clip(self.log_variance, LOWEST, HIGHEST)
        factor = ops.convert_to_tensor([0.5, 0.5, 1.0], "float32")
        return ops.sum(factor * ops.exp(-s) * losses + 0.5 * s)


def mode_weights(intention: Any, probability: Any, modes: int) -> Any:
    """What each mode counts for in the loss, `(batch, modes)`.

    With one mode per intention, that of the true intention (`intention` `(batch,)`); where it is
    unknown (-1), each by its probability `(batch, 3)`. A single mode counts fully.

    >>> weights = mode_weights(ops.array([2, -1]), ops.array([[0.5, 0.3, 0.2]] * 2), modes=3)
    >>> [[round(float(w), 2) for w in row] for row in weights]
    [[0.0, 0.0, 1.0], [0.5, 0.3, 0.2]]
    """
    if modes == 1:
        return ops.ones((ops.shape(probability)[0], 1))
    known = (intention >= 0)[:, None]
    true = ops.one_hot(ops.maximum(intention, 0), modes)
    return ops.where(known, true, ops.stop_gradient(probability))


def squared_error(truth: Any, predicted: Any, weights: Any) -> Any:
    """Mean squared error of modes `(batch, modes, steps)` against `(batch, steps)`, weighted.

    >>> modes, weights = ops.array([[[1.0], [3.0]]]), ops.array([[0.0, 1.0]])
    >>> float(squared_error(ops.array([[1.0]]), modes, weights))
    4.0
    """
    error = ops.mean(ops.square(predicted - truth[:, None]), axis=-1)  # (batch, modes)
    return ops.mean(ops.sum(error * weights, axis=-1))


def cross_entropy(intention: Any, logits: Any) -> Any:
    """Mean cross-entropy over the rows whose intention is known (not -1); 0 if there is none.

    >>> value = cross_entropy(ops.array([1, -1]), ops.array([[0.0, 0.0], [5.0, 0.0]]))
    >>> round(float(value), 4)
    0.6931
    """
    known = ops.cast(intention >= 0, "float32")
    each = keras.losses.sparse_categorical_crossentropy(
        ops.maximum(intention, 0), logits, from_logits=True
    )
    return ops.sum(each * known) / ops.maximum(ops.sum(known), 1.0)


def gaussian_nll(error: Any, deviation: Any, correlation: Any) -> Any:
    """Negative log-density of a bivariate Gaussian.

    Args:
        error: `(..., 2)`, truth minus mean.
        deviation: `(..., 2)`, positive.
        correlation: `(...)`, within (-1, 1).

    Returns:
        `(...)`.

    Example:
        >>> nll = gaussian_nll(ops.zeros((1, 2)), ops.ones((1, 2)), ops.zeros((1,)))
        >>> round(float(nll[0]), 4)  # log(2 pi)
        1.8379
    """
    z = error / deviation
    free = 1.0 - ops.square(correlation)
    quadratic = ops.sum(ops.square(z), axis=-1) - 2.0 * correlation * z[..., 0] * z[..., 1]
    log_deviation = ops.sum(ops.log(deviation), axis=-1)
    return math.log(2 * math.pi) + log_deviation + 0.5 * ops.log(free) + 0.5 * quadratic / free
