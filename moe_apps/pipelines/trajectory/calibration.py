"""Whether predicted Gaussians are as wide as the errors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr

from moe_apps.pipelines.trajectory.answers import Answer

Floats = npt.NDArray[np.floating]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
AXES = ("longitudinal", "lateral")


def calibration(answer: Answer, future: Floats) -> dict[str, Any] | None:
    """How often the truth is where the mixture of Gaussians says, over all windows and steps.

    Args:
        answer: predictions.
        future: truth, `[n, horizon, 2]`.

    Returns:
        None for point forecasts; else `nll`: mean negative log-density in nats (positions in
        metres); `levels`; `longitudinal` and `lateral`: share of truths within the central
        interval of each level, which should be the level; `error`: mean distance of these from the
        levels; `coverage_90`: the shares at the level 0.9.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> ones = np.ones((500, 1, 4, 2))
        >>> found = calibration(
        ...     Answer(modes=0 * ones, deviation=ones, correlation=ones[..., 0] * 0),
        ...     rng.normal(size=(500, 4, 2)),
        ... )
        >>> found["error"] < 0.05, round(found["nll"], 1)
        (True, 2.8)
    """
    if answer.deviation is None or answer.modes is None or answer.correlation is None:
        return None
    weight = np.asarray(answer.mode_probability)[:, :, None]  # (n, modes, 1)
    z = (future[:, None] - answer.modes) / answer.deviation  # (n, modes, horizon, 2)
    below = np.sum(ndtr(z) * weight[..., None], axis=1)  # (n, horizon, 2)
    levels = np.array(LEVELS)
    inside = np.abs(2 * below[..., None] - 1) <= levels  # (n, horizon, 2, levels)
    shares = inside.mean(axis=(0, 1))  # (2, levels)
    return {
        "nll": float(-log_density(answer, future).mean()),
        "levels": list(LEVELS),
        **{name: shares[axis].tolist() for axis, name in enumerate(AXES)},
        "error": float(np.abs(shares - levels).mean()),
        "coverage_90": {n: float(shares[axis, LEVELS.index(0.9)]) for axis, n in enumerate(AXES)},
    }


def log_density(answer: Answer, future: Floats) -> Floats:
    """Logarithm of the mixture's density at the truth, `[n, horizon]`."""
    assert answer.modes is not None and answer.deviation is not None
    deviation, rho = answer.deviation.astype(np.float64), answer.correlation
    assert rho is not None
    z = (future[:, None] - answer.modes) / deviation
    free = 1 - np.square(rho.astype(np.float64))
    quadratic = (np.square(z).sum(axis=-1) - 2 * rho * z[..., 0] * z[..., 1]) / free
    logs = -np.log(2 * np.pi) - np.log(deviation).sum(axis=-1) - 0.5 * (np.log(free) + quadratic)
    return logsumexp(logs, axis=1, b=np.asarray(answer.mode_probability)[:, :, None])
