"""What a forecaster says of a step beside its middle: quantiles, or Student's t."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops
from scipy.special import ndtri, stdtrit

from moe_apps.models.forecasting.losses import ObservedCost, ObservedPinball, ObservedStudentT
from moe_apps.models.forecasting.student_t import student_t_quantiles

HEADS = ("point", "quantile", "student_t")
QUANTILES = (0.1, 0.5, 0.9)
FIRST_SCALE = 0.5
"""Spread that a new head gives every step, in deviations of the window."""

Matrix = npt.NDArray[np.floating]


class Head(keras.layers.Layer):
    """Makes a distribution of every step from its middle and some free numbers.

    A model gives `numbers` of its own a step. A bias is added to them, which `start` sets to what
    the errors of a first forecast say.

    Args:
        steps: steps that have a bias of their own; 1: all have the same.

    Call arguments:
        centre: `(batch, steps)`, scaled by the window.
        raw: `(batch, steps, numbers)`.
        mean, scale: `(batch, 1)`, of the window.

    Returns:
        `(batch, steps, outputs)` in the window's units.
    """

    numbers: int

    def __init__(self, steps: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps

    def build(self, centre_shape: Any = None) -> None:
        self.bias = self.add_weight(
            name="bias",
            shape=(self.steps, self.numbers),
            initializer=keras.initializers.Constant(self._first()),
            dtype="float32",
        )
        self.built = True

    @property
    def outputs(self) -> int:
        """Numbers that describe the distribution of a step."""
        return self.numbers + 1

    def start(self, errors: Matrix) -> None:
        """Give every step the spread of the errors of a first forecast.

        Args:
            errors: `(n, steps)`, target less forecast over the window's deviation; NaN: none.
        """
        rows = self._fitted(np.asarray(errors, np.float64))
        rows = np.where(np.isfinite(rows), rows, self._first())  # no target of a step at all
        self.bias.assign(rows if self.steps > 1 else rows.mean(axis=0, keepdims=True))

    def point(self, outputs: Any) -> Any:
        """The middle of every step, `(batch, steps)`."""
        raise NotImplementedError

    def quantiles(self, outputs: Any, probabilities: Sequence[float]) -> Any:
        """Quantiles of every step, `(batch, steps, probabilities)`."""
        raise NotImplementedError

    def loss(self, **settings: Any) -> ObservedCost:
        """The loss that trains it; settings as in `ObservedCost`."""
        raise NotImplementedError

    def _first(self) -> Matrix:
        """Free numbers `(numbers,)` of a new head."""
        raise NotImplementedError

    def _fitted(self, errors: Matrix) -> Matrix:
        """Free numbers `(steps, numbers)` by which the distribution is that of the errors."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class QuantileHead(Head):
    """Quantiles that cannot cross: the median, and distances to the next ones out from there.

    Args:
        levels: of the quantiles, ascending in (0, 1), 0.5 among them.
        steps: as in `Head`.

    Example:
        >>> head = QuantileHead(levels=(0.1, 0.5, 0.9))
        >>> unit = ops.ones((1, 1))
        >>> found = head(0 * unit, ops.zeros((1, 1, 2)), mean=10 * unit, scale=unit)
        >>> [round(float(one), 2) for one in found[0, 0]]
        [9.36, 10.0, 10.64]
    """

    def __init__(self, levels: Sequence[float] = QUANTILES, steps: int = 1, **kwargs: Any) -> None:
        super().__init__(steps, **kwargs)
        check_levels(levels)
        self.levels = tuple(levels)
        self.numbers = len(levels) - 1
        self.middle = self.levels.index(0.5)

    def call(self, centre: Any, raw: Any, mean: Any, scale: Any) -> Any:
        gaps = ops.softplus(raw + self.bias)
        below, above = gaps[..., : self.middle], gaps[..., self.middle :]
        middle = centre[..., None]
        parts = [middle]
        if self.middle:
            parts.insert(0, middle - ops.flip(ops.cumsum(ops.flip(below, axis=-1), axis=-1), -1))
        if self.middle < self.numbers:
            parts.append(middle + ops.cumsum(above, axis=-1))
        return ops.concatenate(parts, axis=-1) * scale[..., None] + mean[..., None]

    def point(self, outputs: Any) -> Any:
        return outputs[..., self.middle]

    def quantiles(self, outputs: Any, probabilities: Sequence[float]) -> Any:
        """Quantiles between two of its levels are on the line between them, others the outermost.

        Args:
            outputs: of a call.
            probabilities: in (0, 1).
        """
        places = np.interp(probabilities, self.levels, np.arange(len(self.levels)))
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, self.numbers)
        first, second = (ops.take(outputs, index, axis=-1) for index in (low, high))
        return first + (places - low).astype("float32") * (second - first)

    def loss(self, **settings: Any) -> ObservedPinball:
        return ObservedPinball(self.levels, **settings)

    def _first(self) -> Matrix:
        return _before_softplus(FIRST_SCALE * np.diff(ndtri(self.levels)))

    def _fitted(self, errors: Matrix) -> Matrix:
        return _before_softplus(np.diff(np.nanquantile(errors, self.levels, axis=0), axis=0).T)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": self.levels}


@keras.saving.register_keras_serializable(package="moe_apps.forecasting")
class StudentTHead(Head):
    """Student's t: a location, a scale above 0, and degrees of freedom above 2.

    Args:
        steps: as in `Head`.

    Example:
        >>> unit = ops.ones((1, 1))
        >>> found = StudentTHead()(0 * unit, ops.zeros((1, 1, 2)), mean=10 * unit, scale=2 * unit)
        >>> [round(float(one), 2) for one in found[0, 0]]  # location, scale, degrees of freedom
        [10.0, 1.0, 5.0]
    """

    numbers = 2
    least_freedom = 2.01
    least_scale = 1e-4

    def call(self, centre: Any, raw: Any, mean: Any, scale: Any) -> Any:
        free = ops.softplus(raw + self.bias)
        location = centre * scale + mean
        width = (free[..., 0] + self.least_scale) * scale
        return ops.stack([location, width, free[..., 1] + self.least_freedom], axis=-1)

    def point(self, outputs: Any) -> Any:
        return outputs[..., 0]

    def quantiles(self, outputs: Any, probabilities: Sequence[float]) -> Any:
        location, width, freedom = (outputs[..., number] for number in range(3))
        standard = student_t_quantiles(probabilities, freedom)
        return location[..., None] + width[..., None] * standard

    def loss(self, **settings: Any) -> ObservedStudentT:
        return ObservedStudentT(**settings)

    def _first(self) -> Matrix:
        return _before_softplus(np.array([FIRST_SCALE, 5.0 - self.least_freedom]))

    def _fitted(self, errors: Matrix) -> Matrix:
        """By two ranges: how much wider the outer one is says the degrees of freedom."""
        ends = np.nanquantile(errors, [0.025, 0.25, 0.75, 0.975], axis=0)  # (4, steps)
        inner = ends[2] - ends[1]
        ratio = (ends[3] - ends[0]) / np.maximum(inner, 1e-9)
        known = np.geomspace(100, 2.1, 200)
        freedom = np.interp(ratio, stdtrit(known, 0.975) / stdtrit(known, 0.75), known)
        width = inner / (2 * stdtrit(freedom, 0.75))
        return _before_softplus(np.stack([width, freedom - self.least_freedom], axis=-1))


def make_head(kind: str, levels: Sequence[float] = QUANTILES, steps: int = 1) -> Head | None:
    """The head of a name of `HEADS`, built; None for "point".

    Args:
        kind: its name.
        levels: of the quantiles of "quantile".
        steps: as in `Head`.
    """
    if kind not in HEADS:
        raise ValueError(f"`head` must be one of {', '.join(HEADS)}. Received: {kind!r}")
    if kind == "point":
        return None
    settings: dict[str, Any] = {"steps": steps, "dtype": "float32", "name": "spread"}
    quantile = kind == "quantile"
    made: Head = QuantileHead(levels, **settings) if quantile else StudentTHead(**settings)
    made.build()
    return made


def check_levels(levels: Sequence[float]) -> None:
    """Raise ValueError unless levels ascend within (0, 1), 0.5 among them."""
    inside = all(0 < one < 1 for one in levels)
    if not inside or list(levels) != sorted(set(levels)) or 0.5 not in levels or len(levels) < 2:
        raise ValueError(
            "`levels` must ascend between 0 and 1, 0.5 and another among them. "
            f"Received: {tuple(levels)}"
        )


def _before_softplus(values: Matrix) -> Matrix:
    values = np.maximum(values, 1e-4)
    return values + np.log(-np.expm1(-values))
