"""Density and quantiles of Student's t in `keras.ops`, which has no gamma function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops
from numpy.polynomial.chebyshev import chebinterpolate
from scipy.special import stdtrit

DEGREE = 16


def student_t_log_density(z: Any, freedom: Any) -> Any:
    """Log density of the standard Student's t.

    `lnG((v + 1) / 2) - lnG(v / 2) - ln(v pi) / 2 - (v + 1) / 2 ln(1 + z^2 / v)`.

    Args:
        z: where, `(...)`.
        freedom: degrees of freedom v > 0, of the shape of `z`.

    Example:
        >>> round(float(student_t_log_density(ops.array(0.0), ops.array(2.0))), 4)  # ln 0.3536
        -1.0397
    """
    tails = (freedom + 1) / 2 * ops.log1p(ops.square(z) / freedom)
    return _log_half_step(freedom / 2) - 0.5 * ops.log(freedom * math.pi) - tails


def _log_half_step(a: Any) -> Any:
    """`lnG(a + 1/2) - lnG(a)` for a > 0.

    The two logarithms would lose in their difference what float32 has of digits, so that it is
    taken from its own series, four steps further on, where that is exact to 1e-8.
    """
    b = a + 4
    steps = 1.0
    for number in range(4):
        steps = steps * ((a + number) / (a + number + 0.5))
    inverse = 1 / b
    square = inverse * inverse
    series = inverse * (-1 / 8 + square * (1 / 192 - square / 640))
    return 0.5 * ops.log(b) + series + ops.log(steps)


def student_t_quantiles(probabilities: Sequence[float], freedom: Any) -> Any:
    """Quantiles of the standard Student's t, by a polynomial in 1 / v for each probability.

    Args:
        probabilities: in (0, 1).
        freedom: degrees of freedom v >= 2, `(...)`.

    Returns:
        `(..., probabilities)`.

    Example:
        >>> found = student_t_quantiles([0.9, 0.975], ops.array([10.0]))[0]
        >>> [round(float(one), 3) for one in found]
        [1.372, 2.228]
    """
    coefficients = np.stack([_coefficients(one) for one in probabilities], axis=-1)
    x = (4 / freedom - 1)[..., None]
    # Clenshaw's scheme for a sum of Chebyshev polynomials.
    one, two = ops.zeros_like(x), ops.zeros_like(x)
    for row in coefficients[:0:-1]:
        one, two = 2 * x * one - two + row, one
    return x * one - two + coefficients[0]


@lru_cache
def _coefficients(probability: float) -> npt.NDArray[np.float32]:
    """Of the quantile as a function of `4 / v - 1`, which is smooth from normal tails to v = 2."""
    found = chebinterpolate(lambda x: stdtrit(4 / (x + 1), probability), DEGREE)
    return found.astype(np.float32)
