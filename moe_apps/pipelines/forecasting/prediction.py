"""Forecasts a trained run makes for new data, from the command line and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.frequencies import to_offset

from moe_apps.errors import DataError
from moe_apps.pipelines.answer_table import check_writable, write_table
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.forecasting.anomalies import anomalies
from moe_apps.pipelines.forecasting.config import DataSettings, ForecastingConfig
from moe_apps.pipelines.forecasting.covariates import Scale, as_far_as_needed, known_rows
from moe_apps.pipelines.forecasting.data import past_features, read_data
from moe_apps.pipelines.forecasting.intervals import asked_quantiles, calibrated, fewest, in_order
from moe_apps.pipelines.forecasting.panel import Notes, Panel, Series
from moe_apps.pipelines.forecasting.pipeline import EXAMPLE_FILE
from moe_apps.pipelines.forecasting.served import served_forecaster
from moe_apps.pipelines.forecasting.stored_scale import stored_scale
from moe_apps.pipelines.forecasting.unit_forecaster import UnitForecaster
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

FloatArray = npt.NDArray[np.floating]


def predict(run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
    """Forecast what follows each series of a file and write it as a long table.

    The file is read as the training data were. Each series is forecast from its last look-back
    points, or all it has where it is shorter. Columns of the output: `series`, `time` (row
    number where the file has no time), `forecast` in the file's units, and for each of
    `intervals.levels` `lower_80`, `upper_80` and so on, by the errors that the model makes on the
    file's own last windows, and by its own quantiles where it has a head. With
    `predict.anomalies` it is the table of `anomalies` instead.
    `output` is CSV, or Parquet by its suffix (.parquet, .pq).

    Returns:
        `rows`, `output` and `notes`.
    """
    check_writable(output)
    config = run.read_config(ForecastingConfig)
    panel = read_data(config.data, input)
    forecaster = UnitForecaster(load_model(run.model_file), config, panel, stored_scale(run))
    notes = Notes(list(panel.notes))
    if config.predict.anomalies:
        table = anomalies(forecaster, notes)
    else:
        table = forecast_table(forecaster, notes)
    write_table(table, output)
    return {"rows": len(table), "output": str(output), "notes": list(notes.lines())}


def forecast_table(forecaster: UnitForecaster, notes: Notes) -> pd.DataFrame:
    """Forecasts of what follows each series, with intervals, as `predict` writes them.

    Args:
        forecaster: The model on the series.
        notes: Gets what could not be given.
    """
    panel, levels = forecaster.panel, forecaster.config.interval_levels
    forecasts = forecaster.of_ends()
    of_head = _quantiles_of_head(forecaster, levels)
    tables = []
    for number, (series, values) in enumerate(zip(panel.series, forecasts, strict=True)):
        columns = {
            "series": series.name,
            "time": panel.future(series, len(values)),
            "forecast": values,
        }
        if levels:
            own = None if of_head is None else of_head[number]
            ends = _ends(forecaster, series, values, own, notes)
            for place, level in enumerate(levels):
                columns[f"lower_{level:g}"] = ends[:, 2 * place]
                columns[f"upper_{level:g}"] = ends[:, 2 * place + 1]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _quantiles_of_head(forecaster: UnitForecaster, levels: tuple[float, ...]) -> FloatArray | None:
    """The ends of the intervals `[series, horizon, 2 levels]` that a model with a head says."""
    if not levels or not forecaster.has_quantiles:
        return None
    ends = [(series, len(series)) for series in forecaster.panel.series]
    return forecaster.quantiles(ends, asked_quantiles(levels))


def _ends(
    forecaster: UnitForecaster,
    series: Series,
    forecast: FloatArray,
    own: FloatArray | None,
    notes: Notes,
) -> FloatArray:
    """Lower and upper ends `[horizon, 2 levels]` of what follows a series; NaN for none.

    Args:
        forecaster: The model on the series.
        series: One of them.
        forecast: `[horizon]`.
        own: What the model says of the ends itself, if it does.
        notes: Gets what could not be given.
    """
    levels, settings = forecaster.config.interval_levels, forecaster.config.intervals
    quantiles = asked_quantiles(levels)
    if own is not None and settings.calibration == "none":
        return in_order(own, quantiles)
    if own is None:
        errors = forecaster.recent_errors(series, settings.windows)
        ends = calibrated(forecast[None], errors, quantiles)[0]
    else:
        errors = forecaster.recent_errors(
            series,
            settings.windows,
            forecast=lambda origins: forecaster.quantiles(origins, quantiles),
        )
        ends = own if not len(errors) else calibrated(own[None], errors, quantiles)[0]
    if len(errors) and np.isfinite(ends).all():
        return ends
    few = f"of {fewest(levels)} windows that it needs the file has less"
    found = f"{series.name} {len(errors)}"
    if own is not None:
        notes.add(f"interval not calibrated, {few}", found)
        return in_order(own, quantiles)
    notes.add(f"no interval, {few}", found)
    return np.where(np.isfinite(ends), ends, np.nan)


def request(run: RunFolder, input: Path) -> dict[str, Any]:
    """What a served forecaster is asked for the series of a file; see `Domain.request`.

    A series that is shorter than the longest has NaN before its first value, which the served
    model fills; `predict` leaves these points out.
    """
    config = run.read_config(ForecastingConfig)
    panel = read_data(config.data, input)
    length = min(max(map(len, panel.series)), config.data.look_back)
    history = np.full((len(panel.series), length), np.nan, np.float32)
    for row, series in enumerate(panel.series):
        last = series.values[-length:]
        history[row, length - len(last) :] = last
    asked = {"history": history, "horizon": np.array(config.data.horizon, np.int32)}
    scale = stored_scale(run)
    known_features = getattr(load_model(run.model_file), "known_features", 0)
    if known_features > len(scale.mean):
        asked["start"] = np.array([_seconds(panel, series) for series in panel.series], np.int64)
    if scale.mean:
        asked["covariates"] = np.stack(
            [_raw_covariates(panel, one, length, config.data) for one in panel.series]
        )
    return asked


def _raw_covariates(
    panel: Panel, series: Series, length: int, settings: DataSettings
) -> npt.NDArray[np.float32]:
    """Covariates of the last `length` rows of a series and its horizon, as the file has them."""
    rows = len(series) + settings.horizon
    whole = as_far_as_needed(series, rows, settings)
    columns = len(panel.covariates)
    plain = Scale((0.0,) * columns, (1.0,) * columns)
    known = known_rows(panel, whole, rows, calendar=False, scale=plain)
    found = np.repeat(known[:1], length + settings.horizon, axis=0)
    last = known[-(length + settings.horizon) :]
    found[-len(last) :] = last
    return found


def _past(config: ForecastingConfig, step: str | None) -> tuple[int, ...]:
    empty = Panel((), None if step is None else to_offset(step), (), config.data.covariates)
    return past_features(config.data, empty)


def _seconds(panel: Panel, series: Series) -> int:
    """Seconds since 1970, by the series' clock, of the step that follows a series."""
    first = panel.future(series, 1)
    if not isinstance(first, pd.DatetimeIndex):
        raise DataError(f"series '{series.name}': rows carry no time, and the model needs it")
    return int(first.tz_localize(None).as_unit("s").asi8[0])


def served(run: RunFolder) -> Served:
    """The trained model with the signatures it is exported with; see `Domain.served`."""
    config = run.read_config(ForecastingConfig)
    metrics = run.read_metrics()
    facts = metrics["data"]
    example = read_json(run.path / EXAMPLE_FILE)
    card = {
        "system": config.model.name,
        "trained_on": {
            name: facts[name] for name in ("source", "digest", "series", "rows", "step")
        },
        "look_back": config.data.look_back,
        "horizon": config.data.horizon,
        "test": {name: metrics["test"][name] for name in ("mse", "mae", "mase", "smape")},
        "ridge": {name: metrics["baselines"]["ridge"][name] for name in ("mse", "mae")},
        "licence": "model code: Apache-2.0; the weights follow the terms of the training data",
    }
    return served_forecaster(
        load_model(run.model_file),
        look_back=config.data.look_back,
        horizon=config.data.horizon,
        history_example=np.array(example["history"], np.float32),
        card=card,
        step=None if facts["step"] is None else to_offset(facts["step"]),
        start_example=example.get("start", 0),
        calendar=config.data.calendar,
        scale=stored_scale(run),
        past=_past(config, facts["step"]),
        covariates_example=np.array(example.get("covariates", [])),
        levels=config.interval_levels if config.model.head != "point" else (),
    )
