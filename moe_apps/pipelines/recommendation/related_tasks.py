"""Labels of several tasks that are as related as one likes.

The form is that of the synthetic data of Ma et al. 2018, "Modeling Task Relationships in
Multi-task Learning with Multi-gate Mixture-of-Experts" (KDD):
y_k = w_k x + sum_i sin(a_i w_k x + b_i) + noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FREQUENCIES = (1.0, 2.0, 3.0, 4.0)


def related_weights(
    dimension: int, tasks: int, correlation: float, random: np.random.Generator
) -> FloatArray:
    """Unit weight vectors `[tasks, dimension]`, of cosine `correlation` with the first.

    Example:
        >>> w = related_weights(10, 2, 0.5, np.random.default_rng(0))
        >>> (w @ w.T).round(3).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    basis = np.linalg.qr(random.normal(size=(dimension, tasks)))[0].T
    other = np.sqrt(1 - correlation**2)
    return np.vstack([basis[:1], correlation * basis[:1] + other * basis[1:]])


def related_labels(
    x: FloatArray,
    weights: FloatArray,
    random: np.random.Generator,
    noise: float = 0.01,
    phases: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
) -> FloatArray:
    """Labels of the paper's form, `[rows, tasks]`.

    Args:
        x: Features `[rows, dimension]`.
        weights: `[tasks, dimension]`.
        random: Where noise is drawn from.
        noise: Variance of the noise.
        phases: The b_i; the a_i are 1, 2, 3, 4.
    """
    linear = x @ weights.T
    waves = sum(np.sin(a * linear + b) for a, b in zip(FREQUENCIES, phases, strict=True))
    return linear + waves + random.normal(scale=np.sqrt(noise), size=linear.shape)


def paper_form(
    rows: int, correlation: float, seed: int = 0, dimension: int = 100
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The paper's own regression: features `[rows, dimension]` and two labels `[rows, 2]`.

    The paper gives the form, not the a_i, b_i or their number: here a = 1, 2, 3, 4 and b = 0.

    Args:
        rows: Rows.
        correlation: Cosine between the two tasks' weights.
        seed: Seed of weights, features and noise.
        dimension: Features.

    Example:
        >>> x, y = paper_form(1000, correlation=1.0)
        >>> float(np.corrcoef(y.T)[0, 1].round(2))
        1.0
    """
    random = np.random.default_rng(seed)
    weights = related_weights(dimension, 2, correlation, random)
    x = random.normal(size=(rows, dimension))
    return x.astype(np.float32), related_labels(x, weights, random).astype(np.float32)
