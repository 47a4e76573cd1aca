from __future__ import annotations

import numpy as np

from moe_apps.pipelines.trajectory.batches import balanced_rows, spread, training_batches
from moe_apps.pipelines.trajectory.windows import WindowCutter


def test_all_windows_before_changes_are_kept_and_others_thinned(two_lanes, short):
    cutter = WindowCutter(two_lanes, short)
    rows = cutter.rows()
    chosen = balanced_rows(cutter, rows, keep_share=0.75, most=1000, seed=0)
    counts = np.bincount(cutter.intention[chosen])
    assert counts.tolist() == [30, 10]
    assert set(rows[cutter.intention[rows] == 1]) <= set(chosen)
    fewer = balanced_rows(cutter, rows, keep_share=0.75, most=20, seed=0)
    assert len(fewer) == 20 and set(fewer) <= set(rows)


def test_without_changes_all_are_used(two_lanes, short):
    cutter = WindowCutter(two_lanes.only((two_lanes.table["vehicle"] == 2).to_numpy()), short)
    assert len(balanced_rows(cutter, cutter.rows(), 0.5, most=1000, seed=0)) == 85


def test_spread_keeps_both_ends():
    assert spread(np.arange(100), 5)[[0, -1]].tolist() == [0, 99]


def test_batches_hold_every_window_once_a_pass(two_lanes, short):
    cutter = WindowCutter(two_lanes, short)
    windows = cutter.cut(cutter.rows()[:12])
    batches = training_batches(windows, batch_size=4, seed=1, steps_per_epoch=None)
    assert batches.batches_per_epoch == 3
    seen = []
    for inputs, targets in batches.from_epoch(0).take(3):
        assert inputs["ego"].shape == (4, 6, 2) and targets["future"].shape == (4, 10, 2)
        for ego in inputs["ego"].numpy():
            same = np.abs(windows.inputs["ego"] - ego).max(axis=(1, 2)) == 0
            seen.append(np.flatnonzero(same))
    assert len(seen) == 12
