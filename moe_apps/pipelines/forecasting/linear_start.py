"""Linear forecasts in closed form, from which a mixture of linear experts starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from moe_apps.pipelines.forecasting.baselines import PENALTIES, normal_equations
from moe_apps.pipelines.forecasting.windows import Windows

Matrix = npt.NDArray[np.float64]

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Look-backs that are tried, as shares of the longest."""

MEMBERS = 3
"""Most forecasts that are averaged."""


@dataclass(frozen=True)
class LinearStart:
    """A linear forecast and how it was chosen.

    Attributes:
        weights: float64 `[look_back, horizon]`, of windows less their mean.
        members: the averaged ridge regressions, as "look-back / centre".
        gain: validation MSE less that of the forecast by the window's mean alone.
    """

    weights: Matrix
    members: tuple[str, ...]
    gain: float


def linear_start(train: Windows, validation: Windows, season: int) -> LinearStart:
    """The average of up to three ridge regressions that is best on the validation windows.

    They differ in look-back, in what is taken off a window first (its mean, the mean of its last
    season, its last value) and in penalty. Each is linear in the window and moves with its level,
    so that each, and any average, is one matrix on the window less its mean; all come from the
    moments of one pass over the windows, and so does their validation error.

    Args:
        train, validation: windows; the second choose, the first teach.
        season: rows of a season.

    Source: Toner and Darlow 2024, "An Analysis of Linear Time Series Forecasting Models",
    arXiv 2403.14587.
    """
    moments, seen = normal_equations(train), normal_equations(validation)
    look_back = train.look_back
    found: list[tuple[float, str, Matrix]] = []
    for length in sorted({max(round(share * look_back), 1) for share in SHARES}, reverse=True):
        for name, count in (("mean", length), ("season", season), ("last", 1)):
            if name == "mean" or count < length:
                centre = np.zeros(look_back)
                centre[look_back - count :] = 1 / count
                error, weights = _best_penalty(moments, seen, centre, length)
                found.append((error, f"{length} / {name}", weights))
    found.sort(key=lambda one: one[0])
    best, name, weights = found.pop(0)
    names = [name]
    while found and len(names) < MEMBERS:
        averages = [(weights * len(names) + one[2]) / (len(names) + 1) for one in found]
        errors = [_error(average, seen) for average in averages]
        number = int(np.argmin(errors))
        if errors[number] >= best:
            break
        best, weights = errors[number], averages[number]
        names.append(found.pop(number)[1])
    return LinearStart(weights, tuple(names), best / (len(validation) * validation.horizon))


def _best_penalty(
    moments: tuple[Matrix, Matrix], seen: tuple[Matrix, Matrix], centre: Matrix, length: int
) -> tuple[float, Matrix]:
    """Error and weights, on windows less their mean, of a ridge on the last `length` points."""
    gram, cross = moments
    look_back = len(gram)
    # With m the window's mean taken off, w = x - m, the regression sees P w and learns y - c w.
    take = np.eye(look_back)[look_back - length :] - centre
    targets = cross - (gram @ centre)[:, None]  # w'(y - c w)
    inner = take @ gram @ take.T
    values, vectors = eigh(inner)
    projected = vectors.T @ (take @ targets)
    best: tuple[float, Matrix] = (np.inf, np.zeros_like(cross))
    for penalty in PENALTIES[::2] * np.trace(inner) / length:
        divisor = np.maximum(values, 0) + max(penalty, np.finfo(float).tiny)
        weights = take.T @ (vectors @ (projected / divisor[:, None])) + centre[:, None]
        error = _error(weights, seen)
        if error < best[0]:
            best = error, weights
    return best


def _error(weights: Matrix, seen: tuple[Matrix, Matrix]) -> float:
    """Squared error on the windows whose moments these are, up to a constant."""
    gram, cross = seen
    return float(np.sum(weights * (gram @ weights - 2 * cross)))
