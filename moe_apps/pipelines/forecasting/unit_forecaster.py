"""A trained model on the series of a file, in their own units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.errors import DataError
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.covariates import (
    NO_COVARIATES,
    Scale,
    as_far_as_needed,
    known_rows,
)
from moe_apps.pipelines.forecasting.data import past_features
from moe_apps.pipelines.forecasting.forecaster import (
    forecast_function,
    has_quantiles,
    routing_function,
)
from moe_apps.pipelines.forecasting.panel import Panel, Series

FloatArray = npt.NDArray[np.floating]
Origins = list[tuple[Series, int]]
"""Series, each with the row from which it is forecast."""

AT_ONCE = 2048
"""Windows that are in memory together, with all that is known of their rows."""


class UnitForecaster:
    """Forecasts of a file's series, from their ends or from any earlier row.

    Every window is scaled by its own mean and deviation, as a served model does: a series that was
    not in training has no other scale.

    Args:
        model: The trained model.
        config: The run's settings.
        panel: The file's series.
        scale: Of the covariates, as in training.
        compiled: Keeps compiled functions for further forecasters of the same model.
    """

    def __init__(
        self,
        model: Any,
        config: ForecastingConfig,
        panel: Panel,
        scale: Scale = NO_COVARIATES,
        compiled: dict[Any, Any] | None = None,
    ) -> None:
        self.config = config
        self.scale = scale
        self.past = list(past_features(config.data, panel))
        self.panel = panel
        self.known_features = getattr(model, "known_features", 0)
        self.has_quantiles = has_quantiles(model)
        self._model = model
        self._compiled: dict[Any, Any] = {} if compiled is None else compiled

    def of_ends(self) -> npt.NDArray[np.float64]:
        """Forecasts `[series, horizon]` of what follows each series."""
        return self.of_origins([(series, len(series)) for series in self.panel.series])

    def routing_of_ends(self) -> FloatArray:
        """Routing weights of the history that `of_ends` reads, `[series, tokens, layers, experts]`.

        Tokens are the points of the history, or one where a window is routed as a whole. The model
        has routed experts.
        """
        origins = [(series, len(series)) for series in self.panel.series]
        history, mask, known, _, _ = self._inputs(origins, self._length(origins))
        key = "routing", len(origins)
        if key not in self._compiled:
            self._compiled[key] = routing_function(self._model, len(origins))
        return self._compiled[key](history, mask, known)

    def recent_errors(
        self,
        series: Series,
        count: int,
        steps: int | None = None,
        forecast: Callable[[Origins], FloatArray] | None = None,
    ) -> FloatArray:
        """Target less forecast on the last windows of a series, oldest first.

        Args:
            series: One of the panel.
            count: Windows, at most; fewer where the series has not as many of full look-back.
            steps: Steps that are forecast; None for the horizon.
            forecast: Another forecaster of the same windows, origins to `[origins, horizon]`.

        Returns:
            `[windows, steps]`, NaN where the target was not observed; `[windows, steps, quantiles]`
            where the forecaster gives several quantiles.
        """
        steps = steps or self.config.data.horizon
        last = len(series) - steps
        first = max(last - count + 1, min(self.config.data.look_back, last + 1))
        origins = range(first, last + 1)
        if not origins:
            return np.zeros((0, steps))
        answer = forecast or self.of_origins
        forecasts = answer([(series, origin) for origin in origins])[:, :steps]
        rows = np.array(origins)[:, None] + np.arange(steps)
        targets = np.where(series.observed[rows], series.values[rows], np.nan)
        return (targets if forecasts.ndim == 2 else targets[..., None]) - forecasts

    def quantiles(self, origins: Origins, probabilities: Sequence[float]) -> FloatArray:
        """Quantiles `[origins, horizon, probabilities]`, of a model that says them itself."""
        return self._answers(origins, tuple(probabilities))

    def of_origins(self, origins: Origins) -> npt.NDArray[np.float64]:
        """Forecasts `[origins, horizon]` of the rows of a series from an origin on."""
        return self._answers(origins, ())

    def _answers(
        self, origins: Origins, probabilities: tuple[float, ...]
    ) -> npt.NDArray[np.float64]:
        length = self._length(origins)
        size = min(len(origins), self.config.evaluation.batch_size)
        return np.concatenate(
            [
                self._part(origins[first : first + AT_ONCE], length, size, probabilities)
                for first in range(0, len(origins), AT_ONCE)
            ]
        )

    def _length(self, origins: Origins) -> int:
        return min(max(origin for _, origin in origins), self.config.data.look_back)

    def _part(
        self, origins: Origins, length: int, size: int, probabilities: tuple[float, ...]
    ) -> npt.NDArray[np.float64]:
        history, mask, known, mean, scale = self._inputs(origins, length)
        key = self.config.data.horizon, size, probabilities
        if key not in self._compiled:
            self._compiled[key] = forecast_function(
                self._model, self.config.data.horizon, size, probabilities
            )
        answers = self._compiled[key](history, mask, known).astype(np.float64)
        if probabilities:
            mean, scale = mean[..., None], scale[..., None]
        return answers * scale + mean

    def _inputs(self, origins: Origins, length: int) -> tuple[Any, ...]:
        """Scaled histories, their mask, what is known of their rows, and mean and scale of each."""
        history = np.zeros((len(origins), length))
        mask = np.zeros((len(origins), length), dtype=bool)
        for row, (series, origin) in enumerate(origins):
            last = series.values[max(origin - length, 0) : origin]
            history[row, length - len(last) :] = last  # padding on the left
            mask[row, length - len(last) :] = True
        # Scaled in float64: a small variation on a large level is lost in float32.
        count = mask.sum(axis=1, keepdims=True)
        mean = history.sum(axis=1, keepdims=True) / count
        deviation = np.sqrt((np.square(history - mean) * mask).sum(axis=1, keepdims=True) / count)
        scale = np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-9), deviation, 1.0)
        known = None
        if self.known_features:
            known = self._known(origins, length, self.config.data.horizon)
        return (history - mean) / scale * mask, mask, known, mean, scale

    def _known(self, origins: Origins, length: int, horizon: int) -> npt.NDArray[np.float32]:
        """What is known beforehand of the `length` rows before each origin and those after it."""
        shape = (len(origins), length + horizon, self.known_features)
        known = np.zeros(shape, np.float32)
        of_series: dict[str, FloatArray] = {}
        for row, (series, origin) in enumerate(origins):
            if series.name not in of_series:
                of_series[series.name] = self._marks(series, horizon)
            marks = of_series[series.name][max(origin - length, 0) : origin + horizon]
            known[row, -len(marks) :] = marks
        known[:, length:, self.past] = 0
        return known

    def _marks(self, series: Series, horizon: int) -> FloatArray:
        """What is known of every row of a series and of the horizon behind it."""
        rows = len(series) + horizon
        marks = known_rows(
            self.panel, as_far_as_needed(series, rows, self.config.data), rows,
            calendar=self.config.data.calendar, scale=self.scale,
        )  # fmt: skip
        if marks.shape[1] != self.known_features:
            step = "no time" if self.panel.step is None else f"a step of {self.panel.step.freqstr}"
            raise DataError(
                f"series '{series.name}': the model was trained with {self.known_features} marks "
                f"of the calendar and covariates; rows of {step} have {marks.shape[1]}"
            )
        return marks
