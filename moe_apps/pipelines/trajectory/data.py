"""From data settings to windows of three parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.content_digest import content_digest
from moe_apps.pipelines.trajectory.batches import balanced_rows, spread
from moe_apps.pipelines.trajectory.config import DataSettings, TrajectoryConfig
from moe_apps.pipelines.trajectory.labels import INTENTIONS, count_changes
from moe_apps.pipelines.trajectory.readers import read_tracks
from moe_apps.pipelines.trajectory.resampling import resample
from moe_apps.pipelines.trajectory.simulator import simulate
from moe_apps.pipelines.trajectory.splits import split
from moe_apps.pipelines.trajectory.tracks import Tracks, vehicles
from moe_apps.pipelines.trajectory.windows import WindowCutter, Windows


@dataclass(frozen=True)
class TrajectoryData:
    """Tracks, cut into windows of three parts.

    Attributes:
        tracks: at the settings' rate.
        cutter: cuts further windows.
        train: windows for training, balanced by intention.
        validation: windows of the validation part, evenly spread.
        test: windows of the test part, evenly spread.
        facts: what the data were, for `metrics.json`.
    """

    tracks: Tracks
    cutter: WindowCutter
    train: Windows
    validation: Windows
    test: Windows
    facts: dict[str, Any]


def load_tracks(settings: DataSettings, seed: int, path: str | Path | None = None) -> Tracks:
    """The tracks of the settings' file or folder, of another one, or of the simulator."""
    path = path or settings.path
    if path is None:
        return resample(simulate(settings.simulator, seed), settings.rate)
    return read_tracks(path, settings.format, settings.rate, settings.strict)


def windowed_data(config: TrajectoryConfig, path: str | Path | None = None) -> TrajectoryData:
    """The data of a configuration, or of another file, split and cut.

    Raises:
        DataError: There is no window in a part.
    """
    settings = config.data
    tracks = load_tracks(settings, config.seed, path)
    part, unit = split(
        tracks, settings.split, settings.train_fraction, settings.test_fraction, config.seed
    )
    cutter = WindowCutter(tracks, settings, config.model.sites)
    rows = cutter.rows()
    parts = [rows[part[rows] == number] for number in range(3)]
    if any(len(one) == 0 for one in parts):
        raise _too_short(tracks, cutter, settings, [len(one) for one in parts])
    evaluation = config.evaluation
    train = balanced_rows(
        cutter, parts[0], settings.keep_share, settings.train_windows, config.seed
    )
    validation = spread(cutter.strided(parts[1], evaluation.stride), evaluation.validation_windows)
    test = spread(cutter.strided(parts[2], evaluation.stride), evaluation.test_windows)
    data = TrajectoryData(
        tracks, cutter, cutter.cut(train), cutter.cut(validation), cutter.cut(test), {}
    )
    data.facts.update(_facts(data, config, str(path or settings.path or tracks.source), unit))
    return data


def _too_short(
    tracks: Tracks, cutter: WindowCutter, settings: DataSettings, counts: list[int]
) -> DataError:
    longest = (cutter.last - cutter.first + 1).max() / settings.rate
    needed = (settings.history_steps + settings.horizon_steps) / settings.rate
    return DataError(
        f"{tracks.source}: {counts[0]}, {counts[1]} and {counts[2]} windows for training, "
        f"validation and test; a window takes {needed:g} s (history {settings.history:g} s, "
        f"horizon {settings.horizon:g} s) and the longest track without a gap has {longest:g} s: "
        "lower data.history or data.horizon, or give more tracks"
    )


def _facts(
    data: TrajectoryData, config: TrajectoryConfig, source: str, unit: str
) -> dict[str, Any]:
    tracks, test, settings = data.tracks, data.test, config.data
    notes = list(tracks.notes)
    changes = count_changes(tracks)
    if changes.sum() == 0:
        notes.append("no lane change in these tracks: the intention is never judged")
    return {
        "source": source,
        "digest": digest(tracks),
        "test_digest": content_digest(test.future, test.intention, test.judged),
        "rows": len(tracks),
        "vehicles": int(vehicles(tracks.table).max() + 1),
        "recordings": int(tracks.table["recording"].nunique()),
        "rate": tracks.rate,
        "lane_changes": {side: int(count) for side, count in changes.items()},
        "split_by": unit,
        "history": settings.history,
        "horizon": settings.horizon,
        "intention_window": settings.intention_window,
        "labels": settings.labels,
        "windows": {p: len(getattr(data, p)) for p in ("train", "validation", "test")},
        "intentions": {
            p: {
                name: int(((w := getattr(data, p)).intention[w.judged] == number).sum())
                for number, name in enumerate(INTENTIONS)
            }
            for p in ("train", "validation", "test")
        },
        "notes": notes,
    }


def digest(tracks: Tracks) -> str:
    """SHA-256 of the table's content, in hexadecimal.

    >>> digest(Tracks.of({"vehicle": [1], "frame": [0], "x": 0.0}, rate=5))[:6]
    '27336c'
    """
    rows = pd.util.hash_pandas_object(tracks.table, index=False).to_numpy()
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
