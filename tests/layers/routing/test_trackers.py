from __future__ import annotations

import pytest

from moe_apps.layers.routing.trackers import RoutingTracker


def test_it_means_over_batches_until_reset():
    tracker = RoutingTracker(2, name="moe")
    tracker.update_state([1.0, 0.0], entropy=0.2, drop_rate=0.5)
    tracker.update_state([0.5, 0.5], entropy=0.4, drop_rate=0.0)
    result = {name: float(value) for name, value in tracker.result().items()}
    assert result == pytest.approx(
        {"moe/load_0": 0.75, "moe/load_1": 0.25, "moe/entropy": 0.3, "moe/drop_rate": 0.25}
    )
    tracker.reset_state()
    assert set(map(float, tracker.result().values())) == {0.0}


def test_round_trip():
    tracker = RoutingTracker.from_config(RoutingTracker(3, name="moe").get_config())
    assert (tracker.name, tracker.num_experts) == ("moe", 3)
