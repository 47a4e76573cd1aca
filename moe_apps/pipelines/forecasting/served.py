"""What a trained forecaster answers with once it is exported: raw history in, forecasts out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.forecasting.calendar import cycles_of, features_of_seconds, step_seconds
from moe_apps.pipelines.forecasting.covariates import NO_COVARIATES, Scale
from moe_apps.pipelines.forecasting.intervals import asked_quantiles
from moe_apps.pipelines.forecasting.served_history import (
    checked,
    fill_missing,
    prepared,
    scaled_history,
)

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
    "covariates": "[batch, time + horizon, columns] float32: the columns that the model was "
    "trained with, as they are in a file",
}
OUTPUTS = {
    "forecast": "[batch, horizon] float32: the values of the next steps, in the history's unit",
    "expert_shares": "[batch, layers, experts] float32, in explain: share of the routing weight "
    "that each expert had over the history; 1 in sum over the experts of a layer",
}

END = (
    "[batch, horizon] float32: {} end of the {} % interval, as the model says it by itself, in the "
    "history's unit"
)


def served_forecaster(
    model: Any,
    *,
    look_back: int,
    horizon: int,
    history_example: npt.NDArray[np.floating],
    card: Mapping[str, Any],
    step: pd.offsets.BaseOffset | None = None,
    start_example: int = 0,
    calendar: bool = True,
    scale: Scale = NO_COVARIATES,
    past: Sequence[int] = (),
    covariates_example: npt.NDArray[np.floating] | None = None,
    levels: Sequence[float] = (),
) -> Served:
    """Join a model with the preparation of raw series, as functions of TensorFlow tensors.

    `serving_default(history, horizon)` gives `forecast`; `fixed_horizon(history)` does so for the
    training horizon, for callers that cannot send a scalar (rows in TensorFlow Serving's REST
    interface, batching in the server); `explain(history, horizon)` adds `expert_shares` where
    the model has routed experts. A model that knows the calendar has the input `start` too.
    With `levels` all give `lower_80`, `upper_80` and so on beside `forecast`.

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
        calendar: whether the model knows the calendar.
        scale: of the covariates that it knows.
        past: features of `known` that count up to the history's end only.
        covariates_example: `[batch, time + horizon, columns]`, of the example.
        levels: intervals in percent that a model with a head gives, by its own quantiles.

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
    columns = len(scale.mean)
    dated = getattr(model, "known_features", 0) > columns and calendar
    experts = model.num_experts
    ends = [f"{side}_{level:g}" for level in levels for side in ("lower", "upper")]
    forecasts = ["forecast", *ends]

    def known(beside: Mapping[str, Any], history: Any, horizon: Any) -> tuple[Any, ...]:
        time, parts = tf.shape(history)[1], []
        if dated:
            offsets = tf.cast(tf.range(-time, horizon), tf.int64) * round(step_seconds(step))
            seconds = beside["start"][:, None] + offsets
            parts.append(features_of_seconds(seconds, cycles_of(step), tnp))
        if columns:
            # Of a history that was cut, what is known is cut alike.
            last = tf.shape(beside["covariates"])[1] - beside["horizon"]
            given = beside["covariates"][:, last - time : last + horizon]
            mean, deviation = (np.array(v, np.float32) for v in (scale.mean, scale.deviation))
            parts.append((given - mean) / deviation)
        if not parts:
            return ()
        features = tf.concat(parts, axis=-1)
        hidden = np.isin(np.arange(model.known_features), list(past))
        behind = (tf.range(time + horizon) >= time)[:, None] & hidden
        return None, tf.where(behind, 0.0, features)

    def forecast(history: Any, horizon: Any, beside: Mapping[str, Any]) -> dict[str, Any]:
        scaled, unscaled = prepared(history, look_back)
        seen = known(beside, scaled, horizon)
        if not levels:
            return {"forecast": unscaled(model.forecast(scaled, horizon, *seen))}
        found = model.quantiles(scaled, horizon, (0.5, *asked_quantiles(levels)), *seen)
        return {name: unscaled(found[..., place]) for place, name in enumerate(forecasts)}

    def shares(history: Any, beside: Mapping[str, Any]) -> dict[str, Any]:
        if not experts:
            return {}
        filled, observed = fill_missing(history)
        scaled = scaled_history(filled[:, -look_back:])[0]
        weights = tf.reduce_sum(model.routing(scaled, *known(beside, scaled, 1)), axis=1)
        weights /= tf.reduce_sum(weights, axis=-1, keepdims=True)  # (batch, layers, experts)
        return {"expert_shares": tf.where(observed[..., None], weights, np.nan)}

    inputs = {
        "history": tf.TensorSpec((None, None), tf.float32, name="history"),
        "horizon": tf.TensorSpec((), tf.int32, name="horizon"),
    }
    if dated:
        inputs["start"] = tf.TensorSpec((None,), tf.int64, name="start")
    if columns:
        shape = (None, None, columns)
        inputs["covariates"] = tf.TensorSpec(shape, tf.float32, name="covariates")

    def serving_default(given: dict[str, Any]) -> dict[str, Any]:
        given = checked(given)
        return forecast(given["history"], given["horizon"], given)

    def fixed_horizon(given: dict[str, Any]) -> dict[str, Any]:
        given = checked({**given, "horizon": steps})
        answer = forecast(given["history"], steps, given)
        return {name: tf.ensure_shape(one, (None, steps)) for name, one in answer.items()}

    def explain(given: dict[str, Any]) -> dict[str, Any]:
        given = checked(given)
        history, horizon = given["history"], given["horizon"]
        return {**forecast(history, horizon, given), **shares(history, given)}

    without_horizon = {name: spec for name, spec in inputs.items() if name != "horizon"}
    outputs = {name: text for name, text in OUTPUTS.items() if experts or name == "forecast"}
    outputs |= {name: END.format(*name.split("_")) for name in ends}
    example = {
        "history": np.atleast_2d(history_example).astype(np.float32),
        "horizon": np.array(horizon, np.int32),
    }
    if dated:
        example["start"] = np.full(len(example["history"]), start_example, np.int64)
    if columns:
        assert covariates_example is not None
        example["covariates"] = covariates_example.astype(np.float32)
    return Served(
        model,
        {
            "serving_default": _signature(serving_default, inputs),
            "fixed_horizon": _signature(fixed_horizon, without_horizon),
            "explain": _signature(explain, inputs),
        },
        example,
        {
            **card,
            "look_back": look_back,
            "fixed_horizon": horizon,
            "inputs": {name: INPUTS[name] for name in inputs},
            "outputs": outputs,
            "rules": RULES,
        },
    )


def _signature(
    answer: Callable[[dict[str, Any]], dict[str, Any]], inputs: Mapping[str, tf.TensorSpec]
) -> Callable[..., Any]:
    """A compiled function of these inputs; which there are depends on the model."""

    def run(*values: Any) -> dict[str, Any]:
        return answer(dict(zip(inputs, values, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = inspect.Signature([inspect.Parameter(name, kind) for name in inputs])
    run.__signature__ = named  # type: ignore[attr-defined]
    return tf.function(run, input_signature=list(inputs.values()), autograph=False)


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
