from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.trajectory.answers import Answer
from moe_apps.pipelines.trajectory.baselines import (
    constant_acceleration,
    constant_velocity,
    majority_class,
)
from moe_apps.pipelines.trajectory.calibration import calibration, log_density
from moe_apps.pipelines.trajectory.config import DataSettings, TrajectoryConfig
from moe_apps.pipelines.trajectory.metrics import balanced, score
from moe_apps.pipelines.trajectory.windows import Windows

CONFIG = TrajectoryConfig.model_validate(
    {"data": {"rate": 1.0, "horizon": 2.0, "history": 4.0, "velocity_seconds": 1.0,
              "intention_window": 2.0}, "evaluation": {"near_crossing": 1.0}}
)  # fmt: skip


def windows(future, intention, to_crossing=None, ego=None) -> Windows:
    n = len(intention)
    inputs = {"ego": np.zeros((n, 5, 2), np.float32) if ego is None else ego}
    time = np.full(n, np.inf) if to_crossing is None else np.array(to_crossing, float)
    return Windows(
        inputs, np.array(future, np.float32), np.array(intention), time,
        np.array(intention) >= 0, np.arange(n) * 100,
    )  # fmt: skip


def test_errors_of_trajectories_by_hand():
    truth = windows(np.zeros((2, 2, 2)), [0, 0])
    forecast = np.array([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [6.0, 8.0]]])
    modes = np.stack([forecast, forecast * 0 + np.array([0.0, 1.0])], axis=1)
    found = score(Answer(forecast=forecast, modes=modes), truth, CONFIG)
    assert found["final_rmse"] == pytest.approx(np.sqrt(50))
    assert found["ade"] == pytest.approx((5 + 0 + 0 + 10) / 4)
    assert found["fde"] == pytest.approx(5)
    assert found["min_ade"] == pytest.approx((1 + 1) / 2)
    assert found["min_fde"] == pytest.approx((0 + 1) / 2)
    assert found["miss_rate"] == 0.0
    assert found["rmse"] == {"1s": pytest.approx(np.sqrt(12.5)), "2s": pytest.approx(np.sqrt(50))}
    assert found["rmse_longitudinal"]["2s"] == pytest.approx(np.sqrt(18))
    assert found["rmse_lateral"]["2s"] == pytest.approx(np.sqrt(32))
    assert found["rmse_lane_changes"] is None and found["macro_f1"] is None


def test_a_miss_is_more_than_two_metres_off():
    truth = windows(np.zeros((4, 2, 2)), [0] * 4)
    forecast = np.zeros((4, 2, 2))
    forecast[:, -1, 0] = [1.9, 2.1, 0, 9]
    found = score(Answer(forecast=forecast, modes=forecast[:, None]), truth, CONFIG)
    assert found["miss_rate"] == 0.5


def test_intentions_by_hand():
    truth = windows(
        np.zeros((8, 2, 2)), [0, 0, 0, 0, 1, 1, 2, 2], [np.inf] * 4 + [0.5, 1.6, 0.5, 1.6]
    )
    guess = np.array([0, 0, 0, 0, 1, 0, 2, 0])
    found = score(Answer(probability=np.eye(3)[guess]), truth, CONFIG)
    assert found["final_rmse"] is None
    one = found["intention"]
    assert one["windows"] == 6 and one["natural"]["windows"] == 8
    assert one["confusion"] == [[2, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert found["macro_f1"] == pytest.approx(np.mean([2 / 3, 2 / 3, 2 / 3]))
    assert one["natural"]["accuracy"] == pytest.approx(6 / 8)
    assert found["macro_f1_near"] == 1.0  # what was missed is further away
    by_time = {row["seconds"]: row for row in one["by_time_to_crossing"]}
    assert by_time[0.5]["recall"] == 1.0 and by_time[2.0]["recall"] == 0.0
    assert by_time[2.0]["windows"] == 2 and by_time[2.0]["macro_f1"] < 0.3


def test_unjudged_windows_do_not_count():
    truth = windows(np.zeros((4, 2, 2)), [0, 1, 2, -1], [np.inf, 0.5, 0.5, np.inf])
    found = score(Answer(probability=np.eye(3)), windows(np.zeros((3, 2, 2)), [0, 1, 2]), CONFIG)
    more = score(Answer(probability=np.eye(3)[[0, 1, 2, 1]]), truth, CONFIG)
    assert found["macro_f1"] == more["macro_f1"] == 1.0


def test_anticipation_counts_each_crossing_once_and_from_its_first_sight():
    time = np.array([np.inf] * 20 + [1.0, 2.0, 1.0, 2.0])
    truth = windows(np.zeros((24, 2, 2)), [0] * 20 + [1, 1, 2, 2], time)
    rows = truth.row.copy()
    rows[20:] = [1001, 1000, 2001, 2000]  # two crossings, two windows before each
    truth = Windows(**{**truth.__dict__, "row": rows})
    probability = np.zeros((24, 3))
    probability[:, 0] = 1.0
    probability[[20, 21], :] = [0.1, 0.9, 0.0]  # seen at 2 s; the other never
    found = score(Answer(probability=probability), truth, CONFIG)["intention"]["anticipation"]
    assert found["changes"] == 2 and found["seen"] == 0.5
    assert found["mean_seconds"] == pytest.approx(1.0)


def test_balancing_takes_as_many_of_each_and_follows_the_seed():
    truth = np.repeat([0, 1, 2], [50, 4, 9])
    chosen = balanced(truth, seed=1)
    assert np.bincount(truth[chosen]).tolist() == [4, 4, 4]
    assert (chosen == balanced(truth, seed=1)).all()
    assert (chosen != balanced(truth, seed=2)).any()


def test_constant_velocity_and_acceleration_by_hand():
    settings = DataSettings(rate=1.0, history=4.0, horizon=2.0, velocity_seconds=1.0)
    t = np.arange(-4, 1)
    ego = np.stack([2 * t + 0.5 * t**2, 0.5 * t], axis=-1)[None].astype(np.float32)
    given = windows(np.zeros((1, 2, 2)), [0], ego=ego)
    np.testing.assert_allclose(
        constant_velocity(given, settings).forecast, [[[1.5, 0.5], [3.0, 1.0]]], atol=1e-5
    )
    np.testing.assert_allclose(
        constant_acceleration(given, settings).forecast, [[[2.5, 0.5], [6.0, 1.0]]], atol=1e-4
    )


def test_the_majority_is_that_of_the_training_part():
    train = windows(np.zeros((4, 2, 2)), [2, 2, 0, -1])
    answer = majority_class(windows(np.zeros((3, 2, 2)), [0, 0, 0]), train)
    assert answer.probability.argmax(axis=1).tolist() == [2, 2, 2] and answer.forecast is None


def gaussian(scale: float, n: int = 4000) -> tuple[Answer, np.ndarray]:
    rng = np.random.default_rng(0)
    ones = np.ones((n, 1, 2, 2))
    answer = Answer(modes=0 * ones, deviation=scale * ones, correlation=0 * ones[..., 0])
    return answer, rng.normal(size=(n, 2, 2))


def test_calibration_tells_too_wide_from_too_narrow():
    right, wide, narrow = (calibration(*gaussian(scale)) for scale in (1.0, 2.0, 0.5))
    assert right["error"] < 0.01
    assert right["coverage_90"]["lateral"] == pytest.approx(0.9, abs=0.02)
    assert wide["coverage_90"]["lateral"] > 0.98 and narrow["coverage_90"]["lateral"] < 0.65
    assert right["nll"] < min(wide["nll"], narrow["nll"])
    assert calibration(Answer(), np.zeros((3, 2, 2))) is None


def test_the_mixture_weighs_its_modes():
    modes = np.zeros((1, 3, 1, 2))
    modes[0, 1, 0] = [50.0, 0.0]
    one = np.ones((1, 3, 1, 2))
    answer = Answer(
        modes=modes, deviation=one, correlation=0 * one[..., 0],
        probability=np.array([[0.5, 0.25, 0.25]]),
    )  # fmt: skip
    found = log_density(answer, np.array([[[50.0, 0.0]]]))
    assert found[0, 0] == pytest.approx(np.log(0.25 / (2 * np.pi)), abs=1e-6)
