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
from moe_apps.pipelines.forecasting.calendar import calendar_features
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.data import read_data
from moe_apps.pipelines.forecasting.forecaster import forecast_function
from moe_apps.pipelines.forecasting.panel import Panel, Series
from moe_apps.pipelines.forecasting.pipeline import EXAMPLE_FILE
from moe_apps.pipelines.forecasting.served import served_forecaster
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model


def predict(run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
    """Forecast what follows each series of a file and write it as a long table.

    The file is read as the training data were. Each series is forecast from its last look-back
    points, or all it has where it is shorter. Columns of the output: `series`, `time` (row
    number where the file has no time), `forecast` in the file's units. `output` is CSV, or
    Parquet by its suffix (.parquet, .pq).

    Returns:
        `rows`, `output` and `notes`.
    """
    check_writable(output)
    config = run.read_config(ForecastingConfig)
    panel = read_data(config.data, input)
    forecasts = forecast_panel(run, config, panel)
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "series": series.name,
                    "time": panel.future(series, config.data.horizon),
                    "forecast": values,
                }
            )
            for series, values in zip(panel.series, forecasts, strict=True)
        ],
        ignore_index=True,
    )
    write_table(table, output)
    return {"rows": len(table), "output": str(output), "notes": list(panel.notes)}


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
    if getattr(load_model(run.model_file), "known_features", 0):
        asked["start"] = np.array([_seconds(panel, series) for series in panel.series], np.int64)
    return asked


def _seconds(panel: Panel, series: Series) -> int:
    """Seconds since 1970, by the series' clock, of the step that follows a series."""
    first = panel.future(series, 1)
    if not isinstance(first, pd.DatetimeIndex):
        raise DataError(f"series '{series.name}': rows carry no time, and the model needs it")
    return int(first.tz_localize(None).as_unit("s").asi8[0])


def forecast_panel(
    run: RunFolder, config: ForecastingConfig, panel: Panel
) -> npt.NDArray[np.float64]:
    """Forecasts `[series, horizon]` of what follows each series, in its own units."""
    length = min(max(map(len, panel.series)), config.data.look_back)
    history = np.zeros((len(panel.series), length))
    mask = np.zeros((len(panel.series), length), dtype=bool)
    for row, series in enumerate(panel.series):
        last = series.values[-length:]
        history[row, length - len(last) :] = last  # padding on the left
        mask[row, length - len(last) :] = True
    # Scaled in float64: a small variation on a large level is lost in float32.
    count = mask.sum(axis=1, keepdims=True)
    mean = history.sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((np.square(history - mean) * mask).sum(axis=1, keepdims=True) / count)
    scale = np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-9), deviation, 1.0)
    model = load_model(run.model_file)
    answer = forecast_function(
        model, config.data.horizon, min(len(history), config.evaluation.batch_size)
    )
    known = None
    if getattr(model, "known_features", 0):
        known = _known(panel, length, config.data.horizon, model.known_features)
    answers = answer((history - mean) / scale * mask, mask, known)
    return answers.astype(np.float64) * scale + mean


def _known(panel: Panel, length: int, horizon: int, features: int) -> npt.NDArray[np.float32]:
    """What is known beforehand of the last `length` rows of each series and of what follows."""
    known = np.zeros((len(panel.series), length + horizon, features), np.float32)
    for row, series in enumerate(panel.series):
        last = panel.times(series)[-length:]
        times = last.append(panel.future(series, horizon))
        marks = calendar_features(times, panel.step)
        if marks.shape[1] != features:
            raise DataError(
                f"series '{series.name}': the model was trained with {features} marks of the "
                f"calendar, a step of {panel.step and panel.step.freqstr} has {marks.shape[1]}"
            )
        known[row, -len(marks) :] = marks
    return known


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
    )
