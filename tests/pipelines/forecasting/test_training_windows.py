"""Training batches: what is read, what is a target, how windows are varied."""

from __future__ import annotations

import numpy as np
import pytest

from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.training_windows import fed_back_steps, training_batches
from moe_apps.pipelines.forecasting.windows import make_windows, split

PLAIN = {"flip": False, "mix": 0.0, "batch_size": 4, "steps_per_epoch": 3}


def settings(**train):
    data = {"look_back": 16, "horizon": 96}
    return ForecastingConfig(data=data, train={**PLAIN, **train})


@pytest.fixture
def windows(numbered):
    values = np.random.default_rng(0).normal(size=1200)
    values[100] = np.nan
    panel = numbered(values)
    return make_windows(panel, split(panel), look_back=16, horizon=96).train


def batches(windows, config, epoch=0, count=3):
    return list(training_batches(windows, config).from_epoch(epoch).take(count))


@pytest.mark.parametrize(("horizon", "steps"), [(1, 0), (96, 64), (192, 128), (100, 99), (24, 16)])
def test_steps_that_a_forecast_feeds_back(horizon, steps):
    config = ForecastingConfig(data={"horizon": horizon})
    assert fed_back_steps(config) == steps


def test_windows_are_cut_from_the_series(windows):
    for inputs, targets in batches(windows, settings()):
        read, series = inputs["values"].numpy(), targets["horizon_64"].numpy()
        assert read.shape == (4, 16 + 64) and series.shape == (4, 16 + 96)
        known = np.isfinite(series)
        np.testing.assert_array_equal(read[known[:, :80]], series[:, :80][known[:, :80]])
        flat = np.lib.stride_tricks.sliding_window_view(windows.values, 16 + 96)
        for row, mask in zip(series, known, strict=True):
            assert (np.abs(flat[:, mask] - row[mask]).max(axis=1) == 0).any()


def test_a_missing_value_is_read_filled_and_is_no_target(windows):
    series = np.concatenate(
        [y["horizon_1"].numpy() for _, y in batches(windows, settings(), count=80)]
    )
    read = np.concatenate([x["values"].numpy() for x, _ in batches(windows, settings(), count=80)])
    assert np.isnan(series).any() and np.isfinite(read).all()


def test_flipping_and_mixing_keep_inputs_and_targets_together(windows):
    config = settings(flip=True, mix=1.0)
    plain = [x["values"].numpy() for x, _ in batches(windows, settings())]
    varied = batches(windows, config)
    for (inputs, targets), same in zip(varied, plain, strict=True):
        read, series = inputs["values"].numpy(), targets["horizon_1"].numpy()[:, : 16 + 64]
        known = np.isfinite(series)
        np.testing.assert_allclose(read[known], series[known], rtol=1e-6)
        assert np.abs(read - same).max() > 0.1
        # A mixture is no larger than its parts.
        assert np.abs(read).max() <= np.abs(same).max() + 1e-6


def test_order_and_variation_are_a_function_of_seed_and_epoch(windows):
    config = settings(flip=True, mix=0.5)
    later = [x["values"].numpy() for x, _ in batches(windows, config, epoch=1)]
    again = [x["values"].numpy() for x, _ in batches(windows, config, count=6)][3:]
    other = [
        x["values"].numpy()
        for x, _ in batches(windows, config.model_copy(update={"seed": 1}), epoch=1)
    ]
    np.testing.assert_array_equal(later, again)
    assert np.abs(np.array(later) - np.array(other)).max() > 0
