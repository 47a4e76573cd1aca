"""Columns that give a label away."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from moe_apps.pipelines.recommendation.metrics import auc
from moe_apps.pipelines.recommendation.rules import LabelRule

TOO_GOOD = 0.995
"""AUC of a single column that no honest feature has."""

FEWEST_ROWS = 100
"""Rows from which on such an AUC is no accident."""

FEWEST_EACH = 5
"""Rows a value has to have on average before "every value has one label" means anything."""


def find_leaks(
    frame: pd.DataFrame, labels: dict[str, str], columns: Iterable[str]
) -> list[dict[str, str]]:
    """Columns that say what a label is, with how they were found out.

    Args:
        frame: Some rows, cells as text or numbers.
        labels: Rule by column of each yes-or-no label.
        columns: Columns that might be features.

    Returns:
        A row each: `column`, `label`, `finding`.

    Example:
        >>> frame = pd.DataFrame({"click": [0, 1] * 20, "copy": ["no", "yes"] * 20, "age": 3})
        >>> find_leaks(frame, {"click": "click"}, ["copy", "age"])
        [{'column': 'copy', 'label': 'click', 'finding': 'every value has one label only'}]
    """
    found = []
    for label_column, text in labels.items():
        rule = LabelRule.parse(text)
        values = frame[label_column]
        label = rule.apply(pd.to_numeric(values, errors="coerce") if rule.numeric else values)
        there = ~np.isnan(label)
        if not 0 < np.mean(label[there]) < 1:
            continue
        for column in columns:
            if column not in labels:
                finding = _finding(frame[column][there], values[there], label[there])
                if finding:
                    found.append({"column": column, "label": label_column, "finding": finding})
    return found


def _finding(column: pd.Series, original: pd.Series, label: np.ndarray) -> str | None:
    numbers = pd.to_numeric(column, errors="coerce")
    filled = column.notna().to_numpy()
    if not filled.any():
        return None
    if _same(column[filled], original[filled]):
        return "equals the label"
    codes, values = pd.factorize(column[filled].astype(str))
    rows, ones = np.bincount(codes), np.bincount(codes, label[filled])
    several = len(values) > 1 and len(values) * FEWEST_EACH <= len(codes)
    if several and ((ones == 0) | (ones == rows)).all() and 0 < ones.sum() < rows.sum():
        return "every value has one label only"
    if set(label[~filled]) == {0.0} and set(label[filled]) == {1.0}:
        return "is filled just where the label is 1"
    known = numbers.notna().to_numpy()
    if known.sum() > max(len(column) / 2, FEWEST_ROWS):
        area = auc(label[known], numbers[known].to_numpy(np.float64))
        if area is not None and max(area, 1 - area) >= TOO_GOOD:
            return f"alone has AUC {max(area, 1 - area):.3f}"
    return None


def _same(one: pd.Series, other: pd.Series) -> bool:
    left, right = (pd.to_numeric(column, errors="coerce") for column in (one, other))
    if left.notna().all() and right.notna().all():
        return bool((left.to_numpy() == right.to_numpy()).all())
    return bool((one.astype(str).to_numpy() == other.astype(str).to_numpy()).all())
