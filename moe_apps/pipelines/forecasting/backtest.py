"""Rolling-origin back-test: forecasts from past moments as if each were now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.answer_table import check_writable, write_table
from moe_apps.pipelines.forecasting.baselines import Baseline, RepeatLast, SeasonalNaive
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.covariates import Scale
from moe_apps.pipelines.forecasting.data import past_features, read_data, season
from moe_apps.pipelines.forecasting.learning import train_model
from moe_apps.pipelines.forecasting.panel import Notes, Panel, Series
from moe_apps.pipelines.forecasting.splits import Split
from moe_apps.pipelines.forecasting.stored_scale import stored_scale
from moe_apps.pipelines.forecasting.unit_forecaster import UnitForecaster
from moe_apps.pipelines.forecasting.windows import make_windows
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

FloatArray = npt.NDArray[np.floating]

VALIDATION = 0.1
"""Share of the rows before a cut-off by which a refitted model's epoch is chosen."""


class Origin(NamedTuple):
    """A series and the row from which it is forecast."""

    series: Series
    row: int


def backtest(
    run: RunFolder,
    path: Path | None,
    *,
    cutoffs: int,
    stride: int | None,
    refit: bool,
    output: Path | None,
) -> dict[str, Any]:
    """Forecast every series from each cut-off, with what was known then; see `Domain.backtest`.

    Cut-offs are moments, the same for all series (rows counted from the end where rows carry no
    time). A series takes part where it has at least one value before the cut-off and one observed
    after it. Nothing after a cut-off is used for it: scales and errors' units are of the rows
    before the first.

    Raises:
        ConfigError, DataError: the cut-offs do not fit into the data.
    """
    if output is not None:
        check_writable(output)
    config = run.read_config(ForecastingConfig)
    panel = read_data(config.data, path)
    horizon = config.data.horizon
    moments = _moments(panel, horizon, cutoffs, stride or horizon)
    notes = Notes(list(panel.notes))
    steps = season(config, panel)
    naive: dict[str, Baseline] = {
        "repeat_last": RepeatLast(horizon),
        "seasonal_naive": SeasonalNaive(horizon, steps),
    }
    model = None if refit else load_model(run.model_file)
    scale = stored_scale(run)
    units = _units(panel, moments[0], steps)
    rows, tables = [], []
    for moment in moments:
        origins = list(_origins(panel, moment, notes))
        if not origins:
            raise DataError(f"cut-off {_name(moment)}: no series has values before and after it")
        now = _fitted(config, panel, moment, scale) if model is None else model
        forecaster = UnitForecaster(now, config, panel, scale)
        forecasts = {"model": forecaster.of_origins(list(origins))}
        for name, baseline in naive.items():
            forecasts[name] = np.concatenate(
                [baseline.forecast(one.series.values[None, : one.row]) for one in origins]
            )
        truth = np.array([_ahead(one, horizon) for one in origins])
        for name, values in forecasts.items():
            rows.append(_errors(name, moment, origins, values, truth, units))
        if output is not None:
            tables.append(_table(panel, moment, origins, forecasts["model"], truth))
    if output is not None:
        write_table(pd.concat(tables, ignore_index=True), output)
    errors = pd.concat(rows, ignore_index=True)
    return {
        "cutoffs": [_name(moment) for moment in moments],
        "refit": refit,
        "systems": {name: _means(part) for name, part in errors.groupby("system", sort=False)},
        "by_cutoff": {
            cutoff: {name: _means(one) for name, one in part.groupby("system", sort=False)}
            for cutoff, part in errors.groupby("cutoff", sort=False)
        },
        "output": None if output is None else str(output),
        "notes": list(notes.lines()),
    }


Moment = pd.Timestamp | int


def _moments(panel: Panel, horizon: int, cutoffs: int, stride: int) -> list[Moment]:
    """First steps that are forecast, ascending; negative rows from the end without time."""
    longest = max(map(len, panel.series))
    first = horizon + (cutoffs - 1) * stride
    if first >= longest:
        raise ConfigError(
            f"{cutoffs} cut-offs with a stride of {stride} and a horizon of {horizon} need more "
            f"than {first} rows; the longest series has {longest}"
        )
    back = [horizon + number * stride for number in reversed(range(cutoffs))]
    if panel.step is None:
        return [-steps for steps in back]
    latest = max((panel.times(series) for series in panel.series), key=lambda times: times[-1])
    return [latest[len(latest) - steps] if steps <= len(latest) else _before(panel, latest, steps)
            for steps in back]  # fmt: skip


def _before(panel: Panel, times: pd.Index, steps: int) -> pd.Timestamp:
    return pd.date_range(end=times[-1], periods=steps, freq=panel.step)[0]


def _name(moment: Moment) -> str:
    return str(moment)


def _row(panel: Panel, series: Series, moment: Moment) -> int:
    if isinstance(moment, int):
        return max(len(series) + moment, 0)
    return int(panel.times(series).searchsorted(moment))


def _origins(panel: Panel, moment: Moment, notes: Notes) -> Iterator[Origin]:
    for series in panel.series:
        row = _row(panel, series, moment)
        if row < 1 or not series.observed[:row].any():
            notes.add(f"no value before {_name(moment)}", series.name)
        elif not series.observed[row:].any():
            notes.add(f"no value from {_name(moment)} on", series.name)
        else:
            yield Origin(series, row)


def _ahead(origin: Origin, horizon: int) -> FloatArray:
    """What came, `[horizon]`; NaN where nothing was observed."""
    part = slice(origin.row, origin.row + horizon)
    values = np.where(origin.series.observed[part], origin.series.values[part], np.nan)
    return np.concatenate([values, np.full(horizon - len(values), np.nan)])


def _fitted(config: ForecastingConfig, panel: Panel, moment: Moment, scale: Scale) -> Any:
    """A model trained on the rows before a cut-off alone."""
    data = config.data
    kept, splits = [], []
    for series in panel.series:
        row = _row(panel, series, moment)
        train = row - max(round(VALIDATION * row), data.horizon)
        if train >= data.look_back + data.horizon and series.observed[:train].any():
            cut = replace(series, values=series.values[:row], observed=series.observed[:row])
            kept.append(cut)
            splits.append(Split(range(train), range(train, row), range(row, row)))
    if not kept:
        raise DataError(
            f"cut-off {_name(moment)}: no series has the {data.look_back + 2 * data.horizon} rows "
            "before it that training needs; take fewer cut-offs or a smaller look-back"
        )
    windows = make_windows(
        replace(panel, series=tuple(kept)),
        tuple(splits),
        data.look_back,
        data.horizon,
        stride=data.stride,
        calendar=data.calendar,
        tested=False,
        past=past_features(data, panel),
        scale=scale,
    )
    with TemporaryDirectory() as folder:
        return train_model(config, windows, RunFolder(Path(folder)))[0]


def _units(panel: Panel, moment: Moment, steps: int) -> dict[str, tuple[float, float]]:
    """Deviation, and mean absolute seasonal difference, before the first cut-off; NaN: none."""
    found = {}
    for series in panel.series:
        row = _row(panel, series, moment)
        values = np.where(series.observed[:row], series.values[:row], np.nan)
        known = values[np.isfinite(values)]
        deviation = float(known.std()) if len(known) > 1 else np.nan
        differences = np.abs(values[steps:] - values[:-steps])
        differences = differences[np.isfinite(differences)]
        naive = float(differences.mean()) if len(differences) else np.nan
        found[series.name] = deviation or np.nan, naive or np.nan
    return found


def _errors(
    name: str,
    moment: Moment,
    origins: list[Origin],
    forecast: FloatArray,
    truth: FloatArray,
    units: dict[str, tuple[float, float]],
) -> pd.DataFrame:
    """A row for each target that was observed."""
    deviation, naive = np.array([units[one.series.name] for one in origins]).T[:, :, None]
    error = np.abs(forecast - truth)
    size = np.abs(forecast) + np.abs(truth)
    smape = 200 * error / np.where(size > 0, size, 1.0)
    columns = {
        "mse": np.square(error / deviation),
        "mae": error / deviation,
        "mase": error / naive,
        "smape": smape,
    }
    table = pd.DataFrame({key: np.ravel(value) for key, value in columns.items()})
    table = table[np.isfinite(truth).ravel()]
    return table.assign(system=name, cutoff=_name(moment))


def _means(errors: pd.DataFrame) -> dict[str, Any]:
    means = {key: errors[key].mean() for key in ("mse", "mae", "mase", "smape")}
    return {
        **{key: None if np.isnan(value) else float(value) for key, value in means.items()},
        "targets": len(errors),
    }


def _table(
    panel: Panel, moment: Moment, origins: list[Origin], forecast: FloatArray, truth: FloatArray
) -> pd.DataFrame:
    horizon = forecast.shape[1]
    times = [panel.ahead(one.series, one.row, horizon) for one in origins]
    return pd.DataFrame(
        {
            "series": np.repeat([one.series.name for one in origins], horizon),
            "cutoff": _name(moment),
            "step": np.tile(np.arange(1, horizon + 1), len(origins)),
            "time": np.concatenate([np.asarray(one) for one in times]),
            "forecast": forecast.ravel(),
            "value": truth.ravel(),
        }
    )
