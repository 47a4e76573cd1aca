from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import TENSORFLOW, array, in_mode
from moe_apps.models.forecasting.losses import ObservedError, PositionwiseHuber


@pytest.fixture
def series() -> np.ndarray:
    series = np.random.default_rng(0).normal(scale=3, size=(2, 9)).astype("float32")
    series[0, 4] = series[1, 7] = np.nan
    return series


@pytest.fixture
def predictions() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 6, 4)).astype("float32")


def by_hand(series, predictions, delta=2.0, first=0) -> float:
    errors = []
    for row, position, step in np.ndindex(predictions.shape):
        target = position + step + 1
        if position < first or target >= series.shape[1] or np.isnan(series[row, target]):
            continue
        error = abs(series[row, target] - predictions[row, position, step])
        errors.append(error**2 / 2 if error <= delta else delta * (error - delta / 2))
    return float(np.mean(errors))


@pytest.mark.parametrize("settings", [{}, {"delta": 0.5}, {"first_position": 3}], ids=str)
def test_it_is_the_formula_over_the_targets_that_exist(series, predictions, mode, settings):
    loss = in_mode(PositionwiseHuber(**settings), mode)(series, predictions)
    expected = by_hand(
        series, predictions, settings.get("delta", 2.0), settings.get("first_position", 0)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def gradient(series, predictions) -> np.ndarray:
    loss = PositionwiseHuber()
    if TENSORFLOW:
        import tensorflow as tf

        y = tf.constant(predictions)
        with tf.GradientTape() as tape:
            tape.watch(y)
            value = loss(series, y)
        return array(tape.gradient(value, y))
    import jax

    return array(jax.grad(lambda y: loss(series, y))(ops.convert_to_tensor(predictions)))


def test_missing_targets_give_no_gradient_and_spoil_none(series, predictions):
    found = gradient(series, predictions)
    assert np.isfinite(found).all()
    for row, position, step in np.ndindex(found.shape):
        target = position + step + 1
        missing = target >= series.shape[1] or np.isnan(series[row, target])
        assert (found[row, position, step] == 0) == missing


def test_without_any_target_it_is_zero(series, predictions):
    assert float(PositionwiseHuber()(np.full_like(series, np.nan), predictions)) == 0
    assert not gradient(np.full_like(series, np.nan), predictions).any()


def test_round_trip():
    loss = PositionwiseHuber(delta=1.5, first_position=4, name="error")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="detla"):
        PositionwiseHuber(detla=1.0)


@pytest.mark.parametrize(
    "kind, expected", [("squared", 4.0), ("absolute", 2.0), ("huber", 2 * (2 - 0.5 * 2))]
)
def test_the_observed_targets_alone_count(kind, expected):
    truth = np.array([[1.0, np.nan], [np.nan, 5.0]], "float32")
    forecast = np.array([[3.0, 99.0], [-99.0, 7.0]], "float32")
    assert float(ObservedError(kind)(truth, forecast)) == pytest.approx(expected)


def test_steps_behind_count_by_their_weight():
    loss = ObservedError("absolute", ahead=1, weight_behind=0.5)
    error = loss(np.zeros((1, 3), "float32"), np.array([[1.0, 1.0, 4.0]], "float32"))
    assert float(error) == pytest.approx((0.5 + 0.5 + 4) / 2)
    assert ObservedError.from_config(loss.get_config()).get_config() == loss.get_config()


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="Received: 'cubic'"):
        ObservedError("cubic")
