"""TrajNet++: pedestrians, a JSON object a line, 2.5 Hz, metres."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.trajectory.readers.tidying import finish
from moe_apps.pipelines.trajectory.tracks import Tracks

RATE = 2.5


def read(path: Path) -> Tracks:
    """Read an ndjson file: its tracks once, and the rate its scenes name.

    Predictions, which such files may hold as well, are left out. Raises `DataError` naming the
    line that is no JSON object, or lacks a value.
    """
    rows, rates, predictions = [], set(), 0
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, text in enumerate(file, start=1):
            text = text.replace("\0", "").strip()
            if not text:
                continue
            line = _object(text, path, number)
            if "scene" in line and isinstance(line["scene"], Mapping):
                rates.add(float(line["scene"].get("fps", RATE)))
            elif "track" in line and isinstance(line["track"], Mapping):
                if "prediction_number" in line["track"]:
                    predictions += 1
                else:
                    rows.append(_row(line["track"], path, number))
    if not rows:
        raise DataError(f'{path}: has no track in it, expected lines such as {{"track": {{...}}}}')
    if len(rates) > 1:
        found = ", ".join(f"{rate:g}" for rate in sorted(rates))
        raise DataError(f"{path}: scenes at {found} frames a second, expected one rate")
    notes = [f"{path.name}: {predictions} rows left out, they are predictions"]
    columns = pd.DataFrame(rows, columns=["frame", "vehicle", "x", "y"])
    columns["frame"] = in_steps(columns["frame"])
    columns["kind"] = "pedestrian"
    rate = rates.pop() if rates else RATE
    return finish(columns, rate, path, notes if predictions else [], align=True)


def in_steps(frames: pd.Series) -> pd.Series:
    """Return frame numbers counted in their own usual step.

    >>> in_steps(pd.Series([1, 11, 21, 41])).tolist()
    [0, 1, 2, 4]
    """
    numbers = np.sort(frames.unique())
    steps = np.diff(numbers)
    step = pd.Series(steps).mode().iloc[0] if len(steps) else 1
    return ((frames - numbers[0]) / step).round().astype(np.int64)


def _object(text: str, path: Path, number: int) -> Mapping[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is no JSON: {error.msg}") from None
    if not isinstance(line, Mapping):
        raise DataError(f"{path}: line {number} is no JSON object")
    return line


def _row(track: Mapping[str, Any], path: Path, number: int) -> tuple[int, int, float, float]:
    try:
        return int(track["f"]), int(track["p"]), float(track["x"]), float(track["y"])
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: line {number}: a track needs numbers f, p, x and y, found {dict(track)}"
        ) from None
