from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moe_apps.pipelines.trajectory.readers.directions import along_the_road, from_the_right


def _crossing(angle: float, heading: bool) -> pd.DataFrame:
    """Ten vehicles each way on a road at `angle`, two across it, one that stands."""
    rows = []
    for number in range(23):
        way = angle + (0 if number < 10 else np.pi if number < 20 else np.pi / 2)
        speed = 0.0 if number == 22 else 10.0
        for frame in range(10):
            rows.append(
                {
                    "recording": "r",
                    "vehicle": number,
                    "frame": frame,
                    "x": speed * frame / 10 * np.cos(way) + number,
                    "y": speed * frame / 10 * np.sin(way),
                    "heading": way,
                }
            )
    table = pd.DataFrame(rows)
    return table if heading else table.drop(columns="heading")


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.0, 3.0, -1.5])
@pytest.mark.parametrize("heading", [True, False])
def test_each_direction_runs_along_x(angle: float, heading: bool) -> None:
    found, notes = along_the_road(_crossing(angle, heading))
    # By distance driven; both ways of the road are equal, the way across is last.
    counts = found.groupby("recording")["vehicle"].nunique().to_dict()
    standing = 1 if heading else 0
    assert counts["r/3"] == 2 + standing and sum(counts.values()) == 23
    assert sorted([counts["r/1"], counts["r/2"]]) == [10, 11 - standing]
    steps = found.groupby("vehicle")[["x", "y"]].agg(
        lambda values: values.iloc[-1] - values.iloc[0]
    )
    np.testing.assert_allclose(steps["x"].drop(22), 9.0, atol=1e-9)
    np.testing.assert_allclose(steps["y"], 0.0, atol=1e-9)
    assert found.groupby("recording")["x"].min().abs().max() < 1e-9
    assert "heading" not in found and len(notes) == (1 if heading else 2)


def test_lanes_of_a_bend_count_from_the_right() -> None:
    random = np.random.default_rng(1)
    lane = random.integers(3, 7, 500)
    x = random.uniform(-300, 300, 500)
    y = 1e-4 * x**2 + 3.6 * lane + random.normal(0, 0.3, 500)
    assert (from_the_right(lane, x, y) == lane - 3).all()
    assert (from_the_right(lane, x, -y) == 6 - lane).all()
    unknown = np.where(random.random(500) < 0.1, -1, lane)
    found = from_the_right(unknown, x, y)
    assert ((found == -1) == (unknown == -1)).all()
    assert (found[unknown != -1] == (lane - 3)[unknown != -1]).all()
