"""Prediction intervals for any forecaster, from its own recent errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

GRID = np.arange(1, 20) / 20
"""Quantiles by which the CRPS is approximated."""


def bounds(level: float) -> tuple[float, float]:
    """The two quantiles of a central interval.

    >>> [round(one, 3) for one in bounds(95)]
    [0.025, 0.975]
    """
    tail = (1 - level / 100) / 2
    return tail, 1 - tail


def fewest(levels: Sequence[float]) -> int:
    """How many errors the widest interval needs to have finite ends.

    >>> fewest([80, 95])
    39
    """
    return int(np.ceil(1 / bounds(max(levels))[0] - 1e-9)) - 1


def conformal_quantiles(errors: FloatArray, quantiles: Sequence[float]) -> FloatArray:
    """Quantiles of the error of the next forecast, by split conformal prediction.

    Of n errors that are exchangeable with the next one, it is at most the k-th smallest with
    probability of at least k / (n + 1). An upper quantile q takes k = ceil(q (n + 1)), a lower one
    mirrors it, so that an interval between them covers no less than it says.

    Args:
        errors: `[n, steps]`, target less forecast; NaN where there was no target.
        quantiles: in (0, 1).

    Returns:
        `[quantiles, steps]`; infinite where n is too small.

    Source: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World".

    >>> conformal_quantiles(np.arange(1.0, 10.0)[:, None], [0.1, 0.5, 0.9, 0.95])[:, 0].tolist()
    [1.0, 5.0, 9.0, inf]
    """
    if not len(errors):
        errors = np.full((1, errors.shape[1]), np.nan)
    ordered = np.sort(errors, axis=0)  # NaN last
    count = np.isfinite(errors).sum(axis=0)  # [steps]
    found = []
    for quantile in quantiles:
        if quantile >= 0.5:
            rank = np.ceil(quantile * (count + 1) - 1e-9).astype(int)
        else:
            rank = np.floor(quantile * (count + 1) + 1e-9).astype(int)
        inside = np.clip(rank, 1, np.maximum(count, 1)) - 1
        values = np.take_along_axis(ordered, inside[None], axis=0)[0]
        values = np.where(rank > count, np.inf, np.where(rank < 1, -np.inf, values))
        found.append(values)
    return np.array(found)


def asked_quantiles(levels: Sequence[float]) -> tuple[float, ...]:
    """The quantiles that intervals of these levels need: lower and upper end of each.

    >>> [round(one, 3) for one in asked_quantiles([80, 95])]
    [0.1, 0.9, 0.025, 0.975]
    """
    return tuple(one for level in levels for one in bounds(level))


def calibrated(forecast: FloatArray, errors: FloatArray, quantiles: Sequence[float]) -> FloatArray:
    """Quantiles of the next targets, by the errors of earlier forecasts.

    A point forecast is moved by quantiles of its errors. Of forecast quantiles, each is moved by
    the same quantile of its own errors, which is what conformalised quantile regression does with
    the two ends of an interval; should they cross then, they are put in order.

    Args:
        forecast: `[n, steps]`, or forecast quantiles `[n, steps, quantiles]`.
        errors: target less forecast, `[windows, steps]` or `[windows, steps, quantiles]`; NaN
            where there was no target.
        quantiles: in (0, 1).

    Returns:
        `[n, steps, quantiles]`; infinite where there are too few errors.

    Source: Romano, Patterson and Candes 2019, "Conformalized Quantile Regression",
    arXiv 1905.03222.

    >>> errors = np.arange(1.0, 10.0)[:, None]
    >>> calibrated(np.array([[10.0]]), errors, [0.1, 0.9])[0, 0].tolist()
    [11.0, 19.0]
    """
    if forecast.ndim == 2:
        return forecast[..., None] + conformal_quantiles(errors, quantiles).T
    offsets = [
        conformal_quantiles(errors[..., number], [quantile])[0]
        for number, quantile in enumerate(quantiles)
    ]
    return in_order(forecast + np.stack(offsets, axis=-1), quantiles)


def in_order(values: FloatArray, quantiles: Sequence[float]) -> FloatArray:
    """Values `[..., quantiles]` such that a higher quantile is no less than a lower one.

    >>> in_order(np.array([3.0, 2.0, 1.0]), [0.1, 0.9, 0.5]).tolist()
    [1.0, 3.0, 2.0]
    """
    found = np.empty_like(values)
    found[..., np.argsort(quantiles)] = np.sort(values, axis=-1)
    return found
