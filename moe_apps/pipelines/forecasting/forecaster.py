"""A model in the shape that the pipeline calls it: forecasts and routing, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.forecasting.windows import Batch
from moe_apps.pipelines.inference import in_batches

FloatArray = npt.NDArray[np.floating]
Answer = Callable[[Batch], FloatArray]
"""Windows to scaled forecasts `[n, horizon]`, or to quantiles `[n, horizon, probabilities]`."""


def forecast_function(
    model: Any, horizon: int, batch_size: int = 256, probabilities: Sequence[float] = ()
) -> Callable[..., FloatArray]:
    """A compiled `(history [n, time], mask=None, known=None) -> [n, horizon]`.

    `known` `[n, time + horizon, features]` reaches models that use it. With `probabilities` it
    gives these quantiles of a model that has a head, `[n, horizon, probabilities]`.
    """

    def answer(history: Any, *more: Any) -> Any:
        if probabilities:
            return model.quantiles(history, horizon, probabilities, *more)
        return model.forecast(history, horizon, *more)

    return _on_histories(model, answer, batch_size)


def routing_function(model: Any, batch_size: int = 256) -> Callable[..., FloatArray]:
    """A compiled `(history [n, time], mask=None, known=None) -> [n, tokens, layers, experts]`."""
    return _on_histories(model, model.routing, batch_size)


def answer_of(
    model: keras.Model, horizon: int, batch_size: int = 256, probabilities: Sequence[float] = ()
) -> Answer:
    """Forecasts of a model for windows, or its quantiles."""
    forecast = forecast_function(model, horizon, batch_size, probabilities)
    if not reads_known(model):
        return lambda batch: forecast(batch.history)
    return lambda batch: forecast(batch.history, None, batch.known)


def routing_of(model: keras.Model, batch_size: int = 256) -> Answer:
    """Routing of a model for windows."""
    routing = routing_function(model, batch_size)
    if not reads_known(model):
        return lambda batch: routing(batch.history)
    return lambda batch: routing(batch.history, None, batch.known)


def has_quantiles(model: Any) -> bool:
    """Whether a model says quantiles itself."""
    return getattr(model, "spread", None) is not None


def reads_known(model: Any) -> bool:
    """Whether a model can be given what is known beforehand."""
    return hasattr(model, "known_features")


def _on_histories(
    model: Any, answer: Callable[..., Any], batch_size: int
) -> Callable[..., FloatArray]:
    run = in_batches(model, answer, batch_size)

    def of_histories(
        history: FloatArray,
        mask: npt.NDArray[np.bool_] | None = None,
        known: FloatArray | None = None,
    ) -> FloatArray:
        more = (known,) if reads_known(model) else ()
        return run(history.astype(np.float32), mask, *more)

    return of_histories
