from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from moe_apps.models.forecasting import TimeMoE
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.forecasting.panel import fill_missing as readers_rule
from moe_apps.pipelines.forecasting.served_history import fill_missing
from tiny_forecaster import HORIZON, LOOK_BACK, history, served, tiny_forecaster

Forecast = Callable[[Any, int], np.ndarray]


@pytest.fixture(scope="module")
def model() -> TimeMoE:
    return tiny_forecaster()


@pytest.fixture(scope="module")
def answers(model: TimeMoE) -> Served:
    return served(model, unit="degrees")


def forecaster(answers: Served) -> Forecast:
    default = answers.signatures["serving_default"]
    return lambda history, horizon: default(history, horizon)["forecast"].numpy()


@pytest.fixture(scope="module")
def forecast(answers: Served) -> Forecast:
    return forecaster(answers)


@pytest.fixture(scope="module")
def explain(answers: Served) -> Callable[..., Mapping[str, Any]]:
    return answers.signatures["explain"]


@pytest.mark.parametrize("horizon", [1, HORIZON, 100])
def test_equals_the_model_on_unscaled_history(
    model: TimeMoE, forecast: Forecast, horizon: int
) -> None:
    expected = model.forecast(history(), horizon).numpy()
    assert expected.std() > 1  # the weights do something
    np.testing.assert_allclose(forecast(history(), horizon), expected, atol=1e-3)


@pytest.mark.parametrize(("batch", "time"), [(1, 1), (5, 1), (2, 7)])
def test_any_batch_and_any_length_of_history(forecast: Forecast, batch: int, time: int) -> None:
    answer = forecast(history(batch, time), 3)
    assert answer.shape == (batch, 3)
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()


def test_uses_the_last_look_back_points(forecast: Forecast) -> None:
    long = history(3, 3 * LOOK_BACK)
    np.testing.assert_array_equal(forecast(long, 5), forecast(long[:, -LOOK_BACK:], 5))


def test_missing_values_are_filled_as_the_reader_does(forecast: Forecast) -> None:
    gappy = history(3, LOOK_BACK)
    gappy[0, [0, 1, 5, 6, -1]] = np.nan
    gappy[1, [3, 9]] = [np.inf, -np.inf]
    filled = np.stack([readers_rule(row.astype(np.float64))[0] for row in gappy])
    np.testing.assert_array_equal(fill_missing(tf.constant(gappy))[0], filled.astype(np.float32))
    np.testing.assert_array_equal(forecast(gappy, 5), forecast(filled, 5))


def test_a_gap_at_the_cut_is_filled_from_before_it(forecast: Forecast) -> None:
    long = history(1, LOOK_BACK + 4)
    long[0, 4] = np.nan
    whole = long.copy()
    whole[0, 4] = whole[0, 3]
    np.testing.assert_array_equal(forecast(long, 5), forecast(whole, 5))


def test_a_series_without_values_is_answered_by_nan_and_disturbs_no_other(
    forecast: Forecast, explain: Any
) -> None:
    gappy = history(3)
    gappy[1] = np.nan
    answer = forecast(gappy, 5)
    assert np.isnan(answer[1]).all()
    np.testing.assert_allclose(answer[[0, 2]], forecast(history()[[0, 2]], 5), atol=1e-4)
    shares = explain(gappy, 5)["expert_shares"].numpy()
    assert np.isnan(shares[1]).all()
    assert np.isfinite(shares[[0, 2]]).all()


def test_fixed_horizon_needs_no_scalar(answers: Served, forecast: Forecast) -> None:
    answer = answers.signatures["fixed_horizon"](history())["forecast"]
    np.testing.assert_allclose(answer, forecast(history(), HORIZON), atol=1e-4)
    static = answers.signatures["fixed_horizon"].get_concrete_function().structured_outputs  # type: ignore[attr-defined]
    assert static["forecast"].shape.as_list() == [None, HORIZON]


def test_explain_adds_the_experts_shares(model: TimeMoE, forecast: Forecast, explain: Any) -> None:
    answer = explain(history(), 5)
    np.testing.assert_array_equal(answer["forecast"], forecast(history(), 5))
    shares = answer["expert_shares"].numpy()
    assert shares.shape == (3, 1, 4)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-6)
    weights = model.routing(history()).numpy().sum(axis=1)
    np.testing.assert_allclose(shares, weights / weights.sum(-1, keepdims=True), atol=1e-3)
    assert shares.std() > 0.01


def test_a_dense_model_has_no_shares() -> None:
    answers = served(tiny_forecaster(dense=True))
    assert set(answers.signatures["explain"](history(), 5)) == {"forecast"}
    assert set(answers.card["outputs"]) == {"forecast"}


def test_a_sample_alone_is_as_in_a_batch(forecast: Forecast, explain: Any) -> None:
    many = history(32)
    np.testing.assert_allclose(forecast(many[:1], 20), forecast(many, 20)[:1], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        explain(many[:1], 2)["expert_shares"], explain(many, 2)["expert_shares"][:1], atol=1e-5
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_scale_and_offset_of_the_history_pass_through(normalize: bool) -> None:
    forecast = forecaster(served(tiny_forecaster(normalize=normalize)))
    expected = forecast(history(), 20)
    for scale in (1e-18, 1e-6, 1e6, 1e18):
        answer = forecast(history() * np.float32(scale), 20)
        np.testing.assert_allclose(answer / scale, expected, atol=1e-3, err_msg=str(scale))
    # Near 1e6 neighbours in float32 are 1/16 apart; the history is exact there, the answer rounded.
    answer = forecast(history() + np.float32(1e6), 20).astype(np.float64)
    np.testing.assert_allclose(answer - 1e6, expected, atol=1 / 16)
    constant = forecast(np.full((1, 9), 0.1, np.float32), 4)
    assert np.isfinite(constant).all()


@pytest.mark.parametrize("name", ["serving_default", "explain"])
@pytest.mark.parametrize("horizon", [0, -5])
def test_a_horizon_below_1_is_refused(answers: Served, name: str, horizon: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="horizon must be at least 1"):
        answers.signatures[name](history(), horizon)


@pytest.mark.parametrize("name", ["fixed_horizon", "explain"])
@pytest.mark.parametrize("shape", [(2, 0), (0, 4)])
def test_an_empty_history_is_refused(answers: Served, name: str, shape: tuple[int, int]) -> None:
    horizon = [] if name == "fixed_horizon" else [4]
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 1 series and 1 time step"):
        answers.signatures[name](np.zeros(shape, np.float32), *horizon)


def test_capacity_dispatch_is_served_without_drops() -> None:
    # Inference capacity of 2 could drop tokens, by what else is in the batch.
    dropping = tiny_forecaster(dispatch="capacity")
    answers = served(dropping)
    assert answers.model.backbone.dispatch == "dropless"
    np.testing.assert_allclose(
        forecaster(answers)(history(), 5), forecaster(served(tiny_forecaster()))(history(), 5)
    )


def test_the_card_and_the_example_say_what_goes_in(answers: Served) -> None:
    card = answers.card
    assert card["unit"] == "degrees"
    assert card["look_back"] == LOOK_BACK
    assert set(card["inputs"]) == {"history", "horizon"} == set(answers.example)
    assert any("filled" in rule for rule in card["rules"])
    assert answers.example["history"].dtype == np.float32
    assert answers.example["horizon"] == HORIZON
