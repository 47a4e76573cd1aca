"""What a trained forecaster answers with once it is exported: raw history in, forecasts out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from moe_apps.models.forecasting.window_scaling import window_statistics
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.forecasting.calendar import cycles_of, features_of_seconds, step_seconds

RULES = (
    "Of a longer history the last look_back points are used; a shorter one is used as it is.",
    "A missing value (NaN or infinite) is filled by the last one observed before it, those at the "
    "beginning by the first one observed; a series without any observed value is answered by NaN.",
    "Each series is scaled by the mean and standard deviation of the history that is used, and its "
    "forecast scaled back, so any unit will do.",
    "A series' forecast does not depend on the others in its batch.",
)
INPUTS = {
    "history": "[batch, time] float32, time >= 1: values at equal steps, oldest first, any unit",
    "horizon": "int32 scalar >= 1: how many steps to forecast; not in fixed_horizon",
    "start": "[batch] int64: time of the first step to forecast, in seconds since 1970 by the "
    "series' own clock",
}
OUTPUTS = {
    "forecast": "[batch, horizon] float32: the values of the next steps, in the history's unit",
    "expert_shares": "[batch, layers, experts] float32, in explain: share of the routing weight "
    "that each expert had over the history; 1 in sum over the experts of a layer",
}


def served_forecaster(
    model: Any,
    *,
    look_back: int,
    horizon: int,
    history_example: npt.NDArray[np.floating],
    card: Mapping[str, Any],
    step: pd.offsets.BaseOffset | None = None,
    start_example: int = 0,
) -> Served:
    """Join a model with the preparation of raw series, as functions of TensorFlow tensors.

    `serving_default(history, horizon)` gives `forecast`; `fixed_horizon(history)` does so for the
    training horizon, for callers that cannot send a scalar (rows in TensorFlow Serving's REST
    interface, batching in the server); `explain(history, horizon)` adds `expert_shares` where
    the model has routed experts. A model that knows the calendar has the input `start` too.

    Every series is scaled by its own history whether or not the model normalises too: a model
    trained on series scaled as a whole has no scaler for a series it never saw, and its released
    code is used in this way (Shi et al. 2024, "Time-MoE", arXiv 2409.16040).

    Args:
        model: the trained forecaster.
        look_back: points of history that are used at most.
        horizon: steps of `fixed_horizon` and of the example.
        history_example: one or more series, `[time]` or `[batch, time]`, in their own units.
        card: facts for people on data and results; inputs, outputs and rules are added.
        step: the time step, for a model that knows the calendar.
        start_example: seconds since 1970 of the step that follows the example.

    Example:
        >>> from moe_apps.models.forecasting import TimeMoE
        >>> model = TimeMoE.from_preset("tiny", context_length=32)
        >>> hours = np.sin(np.arange(32.0))
        >>> one = served_forecaster(
        ...     model, look_back=32, horizon=8, history_example=hours, card={}
        ... )
        >>> answer = one.signatures["serving_default"](**one.example)
        >>> answer["forecast"].shape.as_list()
        [1, 8]
    """
    model = _without_drops(model)
    steps = horizon
    dated = bool(getattr(model, "known_features", 0))
    experts = model.num_experts

    def known(start: Any, history: Any, horizon: Any) -> tuple[Any, ...]:
        if not dated:
            return ()
        ahead = tf.range(-tf.shape(history)[1], horizon)
        offsets = tf.cast(ahead, tf.int64) * round(step_seconds(step))
        return None, features_of_seconds(start[:, None] + offsets, cycles_of(step), tnp)

    def forecast(history: Any, horizon: Any, start: Any) -> dict[str, Any]:
        scaled, unscaled = _prepared(history, look_back)
        seen = known(start, scaled, horizon)
        return {"forecast": unscaled(model.forecast(scaled, horizon, *seen))}

    def shares(history: Any, start: Any) -> dict[str, Any]:
        if not experts:
            return {}
        filled, observed = fill_missing(history)
        scaled = _scaled(filled[:, -look_back:])[0]
        weights = tf.reduce_sum(model.routing(scaled, *known(start, scaled, 1)), axis=1)
        weights /= tf.reduce_sum(weights, axis=-1, keepdims=True)  # (batch, layers, experts)
        return {"expert_shares": tf.where(observed[..., None], weights, np.nan)}

    history_input = tf.TensorSpec((None, None), tf.float32, name="history")
    horizon_input = tf.TensorSpec((), tf.int32, name="horizon")
    start_input = [tf.TensorSpec((None,), tf.int64, name="start")] if dated else []

    @tf.function(input_signature=[history_input, horizon_input, *start_input], autograph=False)
    def serving_default(history: Any, horizon: Any, start: Any = None) -> dict[str, Any]:
        return forecast(_checked_history(history), _checked_horizon(horizon), start)

    @tf.function(input_signature=[history_input, *start_input], autograph=False)
    def fixed_horizon(history: Any, start: Any = None) -> dict[str, Any]:
        answer = forecast(_checked_history(history), steps, start)["forecast"]
        return {"forecast": tf.ensure_shape(answer, (None, steps))}

    @tf.function(input_signature=[history_input, horizon_input, *start_input], autograph=False)
    def explain(history: Any, horizon: Any, start: Any = None) -> dict[str, Any]:
        history = _checked_history(history)
        return {**forecast(history, _checked_horizon(horizon), start), **shares(history, start)}

    outputs = {name: text for name, text in OUTPUTS.items() if experts or name == "forecast"}
    example = {
        "history": np.atleast_2d(history_example).astype(np.float32),
        "horizon": np.array(horizon, np.int32),
    }
    if dated:
        example["start"] = np.full(len(example["history"]), start_example, np.int64)
    return Served(
        model,
        {"serving_default": serving_default, "fixed_horizon": fixed_horizon, "explain": explain},
        example,
        {
            **card,
            "look_back": look_back,
            "fixed_horizon": horizon,
            "inputs": {name: text for name, text in INPUTS.items() if dated or name != "start"},
            "outputs": outputs,
            "rules": RULES,
        },
    )


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


def _prepared(history: Any, look_back: int) -> tuple[Any, Callable[[Any], Any]]:
    """What the model gets, and how its answer becomes one in the units of the history."""
    filled, known = fill_missing(history)
    scaled, unscaled = _scaled(filled[:, -look_back:])
    return scaled, lambda values: tf.where(known, unscaled(values), np.nan)


def _scaled(history: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The history with mean 0 and standard deviation 1, and how to go back.

    In two steps: float32 sums over values far from 0, or squares of huge or tiny ones, would lose
    what varies.
    """
    centre = tf.reduce_mean(history, axis=1, keepdims=True)
    size = tf.reduce_max(tf.abs(history - centre), axis=1, keepdims=True)
    unit = tf.math.divide_no_nan(history - centre, size)  # within [-1, 1]
    mean, scale = window_statistics(unit)
    return (unit - mean) / scale, lambda values: (values * scale + mean) * size + centre


def _checked_history(history: Any) -> Any:
    message = "history must have at least 1 series and 1 time step"
    check = tf.debugging.assert_greater_equal(tf.size(history), 1, message)
    with tf.control_dependencies([check]):
        return tf.identity(history)


def _checked_horizon(horizon: Any) -> Any:
    check = tf.debugging.assert_greater_equal(horizon, 1, "horizon must be at least 1")
    with tf.control_dependencies([check]):
        return tf.identity(horizon)


def _without_drops(model: Any) -> keras.Model:
    """The same model with dropless dispatch: capacity makes an answer depend on its batch."""
    config = model.get_config()
    place = config["backbone"]["config"] if "backbone" in config else config
    if not model.num_experts or place.get("dispatch") != "capacity":
        return model
    place["dispatch"] = "dropless"
    same = type(model).from_config(config)
    same.set_weights(model.get_weights())
    return same
