"""How unlikely the values of a file were, given what came before each of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.pipelines.forecasting.panel import Notes
from moe_apps.pipelines.forecasting.unit_forecaster import UnitForecaster


def anomalies(forecaster: UnitForecaster, notes: Notes) -> pd.DataFrame:
    """Every observed value with a full look-back before it, beside its forecast one step ahead.

    Columns: `series`, `time`, `value`, `forecast`; `score`, the size of the error as a multiple of
    the median of the `intervals.windows` errors before it; and `p_value`, the conformal one: the
    share of those errors that are at least as large, itself counted. A value below 0.01 comes by
    chance once in a hundred rows, where errors are alike.

    Args:
        forecaster: The model on the file's series.
        notes: Takes the series that are too short.

    Source: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World".
    """
    tables = []
    for series in forecaster.panel.series:
        errors = forecaster.recent_errors(series, len(series), steps=1)[:, 0]
        first = len(series) - len(errors)
        if not len(errors):
            notes.add("left out, no row has the look-back before it", series.name, len(series))
            continue
        values = series.values[first:]
        score, p_value = _scores(np.abs(errors), forecaster.config.intervals.windows)
        table = pd.DataFrame(
            {
                "series": series.name,
                "time": forecaster.panel.times(series)[first:],
                "value": values,
                "forecast": values - errors,
                "score": score,
                "p_value": p_value,
            }
        )
        tables.append(table[np.isfinite(errors)])
    columns = ["series", "time", "value", "forecast", "score", "p_value"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _scores(
    sizes: npt.NDArray[np.float64], windows: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Score and p value of each error by those of up to `windows` before it; NaN is skipped."""
    score, p_value = np.full((2, len(sizes)), np.nan)
    for row in range(1, len(sizes)):
        before = sizes[max(row - windows, 0) : row]
        before = before[np.isfinite(before)]
        if len(before) and np.isfinite(sizes[row]):
            middle = np.median(before)
            score[row] = sizes[row] / middle if middle > 0 else np.inf * sizes[row]
            p_value[row] = (1 + np.count_nonzero(before >= sizes[row])) / (1 + len(before))
    return score, p_value
