"""What the studies on real tracks count, on windows made by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from moe_apps.models.trajectory.features import UNKNOWN_OFFSET
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.labels import KEEP, LEFT, RIGHT
from moe_apps.pipelines.trajectory.tracks import Tracks
from moe_apps.pipelines.trajectory.windows import WindowCutter, Windows

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "trajectory"))
import fine_tuning
import gps_lane_changes
import real_tracks


def _drives() -> Windows:
    """Twelve vehicles at 1 Hz, each going over to one side, beginning 3 s before the crossing."""
    parts = []
    for number in range(12):
        time = np.arange(60)
        side = 1 if number % 2 else -1
        moved = side * np.clip((time - 27) / 6, 0, 1) * 3.5
        lane = 1 + side * (time >= 30)
        parts.append(
            pd.DataFrame(
                {"vehicle": number, "frame": time, "x": 25.0 * time, "y": moved, "lane": lane}
            )
        )
    tracks = Tracks.of(pd.concat(parts), rate=1)
    config = TrajectoryConfig.model_validate(gps_lane_changes.SETTINGS)
    cutter = WindowCutter(tracks, config.data)
    windows = fine_tuning.alone(cutter.cut(cutter.rows()))
    return windows.take(np.flatnonzero(windows.judged))


def test_threshold_says_a_side_once_the_vehicle_has_moved() -> None:
    windows = _drives()
    answer = gps_lane_changes.Threshold(steps=1, metres=0.3)(windows)
    guess = answer.probability.argmax(axis=1)
    # 0.58 m a second from 3 s before the crossing on: seen at 2 s and at 1 s, not at 4 s and 3 s.
    for time, seen in ((4, False), (3, False), (2, True), (1, True)):
        at = windows.to_crossing == time
        assert ((guess == windows.intention)[at] == seen).all()
    assert (guess[windows.intention == KEEP] == KEEP).mean() > 0.9
    tuned = gps_lane_changes.Threshold.tuned(windows)
    assert tuned.metres < 0.6


def test_lane_changes_seen_before_the_crossing() -> None:
    windows = _drives()
    answer = gps_lane_changes.Threshold(steps=1, metres=0.3)(windows)
    found = gps_lane_changes.anticipated(answer.probability, windows)
    assert found == {
        "lane_changes": 12,
        "seen_0_to_1_s": 1.0,
        "seen_1_to_2_s": 1.0,
        "seen_2_to_3_s": 0.0,
        "seen_3_to_4_s": 0.0,
    }
    # The other side is not seen.
    turned = answer.probability[:, [KEEP, RIGHT, LEFT]]
    assert gps_lane_changes.anticipated(turned, windows)["seen_0_to_1_s"] == 0.0


def test_alone_leaves_nothing_but_the_way() -> None:
    windows = _drives()
    assert not windows.inputs["present"].any() and not windows.inputs["lanes_beside"].any()
    assert (windows.inputs["lane_offset"] == UNKNOWN_OFFSET).all()
    assert windows.inputs["ego"].any()


def test_folds_keep_vehicles_apart_and_errors_count_what_is_there() -> None:
    frames = np.arange(41)
    tracks = Tracks.of(
        {
            "recording": np.repeat(np.where(np.arange(20) % 2, "a/1", "b"), 41),
            "vehicle": np.repeat(np.arange(20), 41),
            "frame": np.tile(frames, 20),
            "x": np.tile(1.5 * frames, 20),
        },
        rate=10,
    )
    study = real_tracks.Study(tracks)
    assert set(study.site) == {"a", "b"}
    fold_of = np.arange(20) % real_tracks.FOLDS
    train, validation = study.parts(fold_of, fold=2, seed=0)
    used = [set(study.vehicle[part.row].tolist()) for part in (train, validation)]
    assert not used[0] & used[1] and len(used[0] | used[1]) == 16
    assert not (used[0] | used[1]) & set(np.flatnonzero(fold_of == 2))
    rows = pd.DataFrame(study.baselines())
    exact = rows[(rows["system"] == "constant velocity") & (rows["site"] == "all")]
    assert exact["moments"].tolist() == [20 * 6, 20 * 4, 20 * 2]
    assert exact["rmse"].max() < 1e-6 and exact["vehicles"].tolist() == [20, 20, 20]
