"""Columns of a file that are known beside its values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moe_apps.pipelines.forecasting.panel import Notes, fill_missing
from moe_apps.pipelines.forecasting.stamps import missing_column
from moe_apps.pipelines.forecasting.tables import Table

FloatArray = npt.NDArray[np.float64]


def choose_covariates(
    table: Table, columns: list[str], given: Sequence[str], value_columns: Sequence[str] | None
) -> dict[str, FloatArray]:
    """The numbers of the columns that are named as covariates, by name.

    Raises:
        DataError: no such column, no numbers, or a column that is to be forecast.
    """
    found = {}
    for column in given:
        if column not in columns:
            raise table.error(missing_column(column, columns, "covariate"))
        if column in (value_columns or ()):
            raise table.error(f"column '{column}' is to be forecast and a covariate; name it once")
        numbers = table.numbers(column, required=True)
        assert numbers is not None
        found[column] = numbers
    return found


def apart(
    cells: FloatArray, count: int, required: Sequence[bool], label: str, notes: Notes
) -> tuple[FloatArray, FloatArray | None]:
    """Values up to the last row that has any, and the filled covariates of all rows.

    Args:
        cells: `[rows, count + covariates]`, the values first.
        count: columns of values.
        required: by covariate whether it has to be known in the rows after the last value.
        label: name of the series, for notes.
        notes: takes what was filled.

    Raises:
        ValueError: a covariate without any value, or blank where it has to be known.

    >>> cells = np.array([[1.0, 5.0], [2.0, np.nan], [np.nan, 7.0]])
    >>> values, beside = apart(cells, 1, [True], "x", Notes())
    >>> values.tolist(), beside.tolist()
    ([[1.0], [2.0]], [[5.0], [5.0], [7.0]])
    """
    values, beside = cells[:, :count], cells[:, count:]
    if not beside.shape[1]:
        return values, None
    rows = np.flatnonzero(np.isfinite(values).any(axis=1))
    length = int(rows[-1]) + 1 if len(rows) else len(values)
    filled = np.empty_like(beside)
    for number, (column, known) in enumerate(zip(beside.T, required, strict=True)):
        if not np.isfinite(column).any():
            raise ValueError("a covariate has no value at all")
        if known and not np.isfinite(column[length:]).all():
            raise ValueError(
                "a covariate is blank in rows after the last value, where it is to be known"
            )
        filled[:, number], observed = fill_missing(column)
        notes.add("missing covariates filled", label, int((~observed[:length]).sum()))
    notes.add("rows after the last value, of covariates alone", label, len(values) - length)
    return values[:length], filled
