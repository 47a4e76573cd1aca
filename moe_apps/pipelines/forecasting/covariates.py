"""What is known of a row beside its value: calendar, holidays, columns of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.forecasting.calendar import calendar_features
from moe_apps.pipelines.forecasting.config import DataSettings
from moe_apps.pipelines.forecasting.panel import Panel, Series

FloatArray = npt.NDArray[np.floating]

HOLIDAYS = "holiday"
"""Name of the column that holidays make."""


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each covariate in training rows, by which it is scaled everywhere.

    >>> Scale((1.0,), (2.0,))(np.array([[5.0]])).tolist()
    [[2.0]]
    """

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __call__(self, values: FloatArray) -> FloatArray:
        """Scale `[rows, columns]`."""
        return (values - np.array(self.mean)) / np.array(self.deviation)


NO_COVARIATES = Scale()


def fitted_scale(parts: Sequence[FloatArray]) -> Scale:
    """The scale of training rows, each `[rows, columns]`; a constant column is only centred."""
    rows = np.concatenate(parts)
    deviation = rows.std(axis=0)
    mean = rows.mean(axis=0)
    constant = deviation <= 1e-9 * np.maximum(np.abs(mean), 1e-9)
    return Scale(tuple(mean.tolist()), tuple(np.where(constant, 1.0, deviation).tolist()))


def with_holidays(panel: Panel, country: str, horizon: int) -> Panel:
    """The panel with a column that is 1 on holidays, for its rows and `horizon` after them.

    Raises:
        ConfigError: the package holidays is not installed, or knows no such country.
        DataError: rows that carry no time.

    >>> day = Series("x", pd.Timestamp("2024-07-03"), np.ones(2), np.ones(2, bool))
    >>> panel = with_holidays(Panel((day,), pd.offsets.Day()), "US", horizon=1)
    >>> panel.series[0].covariates[:, 0].tolist()
    [0.0, 1.0, 0.0]
    """
    if find_spec("holidays") is None:
        raise ConfigError("data.holidays: install it by pip install 'moe-apps[holidays]'")
    if panel.step is None:
        raise DataError("data.holidays: rows carry no time, so none is known to be a holiday")
    import holidays

    name, _, region = country.partition("-")
    try:
        known = holidays.country_holidays(name, subdiv=region or None)
    except NotImplementedError:
        raise ConfigError(
            f"data.holidays: '{country}' is no country or region that is known"
        ) from None
    made = []
    for series in panel.series:
        old = series.covariates
        rows = len(series) + horizon if old is None else len(old)
        days = pd.DatetimeIndex(panel.ahead(series, 0, rows)).normalize()
        free = [day for day in days.unique() if day.date() in known]
        column = days.isin(free).astype(np.float64)[:, None]
        both = column if old is None else np.concatenate([old, column], axis=1)
        made.append(replace(series, covariates=both))
    return replace(panel, series=tuple(made), covariates=(*panel.covariates, HOLIDAYS))


def as_far_as_needed(series: Series, rows: int, settings: DataSettings) -> Series:
    """The series with its last covariates repeated, where later ones need not be known."""
    given = series.covariates
    if given is None or settings.known_columns or len(given) >= rows:
        return series
    more = np.repeat(given[-1:], rows - len(given), axis=0)
    return replace(series, covariates=np.concatenate([given, more]))


def known_rows(
    panel: Panel, series: Series, rows: int, *, calendar: bool, scale: Scale
) -> npt.NDArray[np.float32]:
    """What is known of the first `rows` rows of a series, `[rows, features]`: calendar, covariates.

    Raises:
        DataError: the covariates end before that.
    """
    parts: list[Any] = []
    if calendar:
        parts.append(calendar_features(panel.ahead(series, 0, rows), panel.step))
    if series.covariates is not None:
        given = len(series.covariates)
        if given < rows:
            times = panel.ahead(series, 0, rows)
            raise DataError(
                f"series '{series.name}': {', '.join(panel.covariates)} end at {times[given - 1]}, "
                f"the forecast needs them up to {times[-1]}; add rows with blank values"
            )
        parts.append(scale(series.covariates[:rows]))
    if not parts:
        return np.zeros((rows, 0), np.float32)
    return np.concatenate(parts, axis=1).astype(np.float32)
