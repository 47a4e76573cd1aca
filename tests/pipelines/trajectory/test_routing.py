from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.routing import routing_summary
from moe_apps.pipelines.trajectory.windows import Windows


@pytest.fixture
def windows() -> Windows:
    intention = np.array([0, 0, 1, 1])
    time = np.array([np.inf, np.inf, 0.4, 1.4])
    return Windows({}, np.zeros((4, 1, 2), np.float32), intention, time, intention >= 0, intention)


def test_shares_by_hand(windows):
    gates = np.zeros((4, 3, 2))
    gates[:, 0] = [0.5, 0.5]  # the first task does not care
    gates[:, 1] = [[1, 0], [1, 0], [0, 1], [0, 1]]  # the second follows the intention
    gates[:, 2] = [[1, 0], [0.6, 0.4], [0.2, 0.8], [0.4, 0.6]]
    found = routing_summary(Answer(gates=gates), windows, intention_window=2.0)["tasks"]
    assert found["longitudinal"]["specialisation"] == pytest.approx(0, abs=1e-9)
    assert found["lateral"]["specialisation"] == pytest.approx(1)
    assert found["longitudinal"]["gate_entropy"] == pytest.approx(1)
    assert found["lateral"]["gate_entropy"] == pytest.approx(0)
    assert found["lateral"]["load_entropy"] == pytest.approx(1)
    assert found["intention"]["load"] == pytest.approx([0.55, 0.45])
    assert found["intention"]["by_intention"]["left"] == pytest.approx([0.3, 0.7])
    over = found["intention"]["over_time"]["left"]
    assert over["seconds"] == [0.5, 1.5]
    np.testing.assert_allclose(over["weights"], [[0.2, 0.8], [0.4, 0.6]])


def test_without_gates_there_is_nothing(windows):
    assert routing_summary(Answer(), windows, 2.0) == {}
