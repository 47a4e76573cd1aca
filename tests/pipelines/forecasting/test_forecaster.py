"""Building a model from settings, and forecasting in batches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moe_apps.errors import ConfigError
from moe_apps.models.forecasting import TimeMoE
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.forecaster import forecast_function, routing_function
from moe_apps.pipelines.forecasting.systems import system_of
from moe_apps.pipelines.parameters import count_parameters

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}


def settings(**model) -> ForecastingConfig:
    return ForecastingConfig(
        data={"look_back": 12, "horizon": 10}, model={**SIZES, "num_experts": 4, **model}
    )


def build_model(config: ForecastingConfig, **arguments):
    return system_of(config).build(config, **arguments)


@pytest.fixture(scope="module")
def model() -> TimeMoE:
    return build_model(settings(), season=24)


def test_small_presets_look_one_season_back_and_the_papers_sizes_do_not(model):
    theta = model.backbone.rope_theta
    assert 2 * math.pi * theta ** (2 / 4) == pytest.approx(24)  # head width 4
    assert build_model(settings(rope_theta=500.0), season=24).backbone.rope_theta == 500
    assert build_model(settings(preset="base"), season=24).backbone.rope_theta == 10000
    # A season under two pi steps has no such base.
    assert build_model(settings(), season=4).backbone.rope_theta == 10000


def test_sizes_that_do_not_fit_name_the_setting():
    with pytest.raises(ConfigError, match=r"^model: 8 features .* 3 heads") as caught:
        build_model(settings(num_heads=3), season=24)
    assert "\n" not in str(caught.value)


def test_active_parameters_leave_the_idle_experts_out(model):
    counts = count_parameters(model)
    one_expert = 3 * 8 * 4  # three matrices, hidden width intermediate_dim / k
    assert counts["total"] - counts["active"] == 2 * one_expert  # 2 of 4 are idle
    twin = build_model(settings(), season=24, dense=True)
    router_and_gate = 8 * 4 + 8
    assert counts["active"] - router_and_gate == twin.count_params()


@pytest.mark.parametrize("count", [1, 5, 8])
def test_batches_change_nothing(model, count):
    history = np.random.default_rng(0).normal(size=(count, 12)).astype(np.float32)
    mask = np.ones((count, 12), bool)
    answer = forecast_function(model, 10, batch_size=4)(history, mask)
    expected = np.asarray(model.forecast(history, 10))
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert routing_function(model, 4)(history).shape == (count, 12, 1, 4)


def test_forecasts_follow_the_weights(model):
    history = np.random.default_rng(0).normal(size=(2, 12)).astype(np.float32)
    answer = forecast_function(model, 10, batch_size=2)
    before, head = answer(history), model.heads[1].kernel
    head.assign(head * 2 + 1)
    assert np.abs(answer(history) - before).max() > 0.1
