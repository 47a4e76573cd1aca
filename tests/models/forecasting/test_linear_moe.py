"""The mixture of linear experts: where it starts, what moves it, what its gate sees."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.models.forecasting import LinearMoE
from moe_apps.models.forecasting.linear_moe import window_context
from moe_apps.models.forecasting.losses import ObservedError

LOOK_BACK, HORIZON, KNOWN = 20, 4, 2


@pytest.fixture
def make_linear():
    """A model whose experts say something."""

    def make(moved: bool = True, **settings) -> LinearMoE:
        keras.utils.set_random_seed(1)
        sizes = {"season": 6, "num_experts": 4, "rank": 2, "gate_dim": 4, "known_features": KNOWN}
        model = LinearMoE(LOOK_BACK, HORIZON, **{**sizes, **settings})
        if moved:
            draw = np.random.default_rng(1).normal
            for variable in model.trainable_variables:
                variable.assign(0.4 * draw(size=variable.shape))
        return model

    return make


def known(batch: int = 2, steps: int = LOOK_BACK + HORIZON, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, steps, KNOWN)).astype("float32")


def test_it_starts_at_the_linear_forecast_it_is_given(make_linear, history):
    model = make_linear(moved=False)
    weights = np.random.default_rng(0).normal(size=(LOOK_BACK, HORIZON)).astype("float32")
    model.start_from(weights)
    mean = history.mean(axis=1, keepdims=True)
    expected = (history - mean) @ weights + mean
    forecast = array(model.forecast(history, HORIZON, known=known()))
    np.testing.assert_allclose(forecast, expected, rtol=1e-4, atol=1e-3)


def test_forecasts_agree_in_every_mode(make_linear, history, mode):
    model = make_linear()
    expected = array(model.forecast(history, 10, known=known(steps=30)))
    run = in_mode(lambda x, marks: model.forecast(x, 10, known=marks), mode)
    np.testing.assert_allclose(run(history, known(steps=30)), expected, rtol=1e-4, atol=1e-3)


def test_longer_horizons_are_rolled(make_linear, history):
    model, marks = make_linear(), known(steps=30)
    first = array(model.forecast(history, HORIZON, known=marks[:, :24]))
    window = np.concatenate([history, first], axis=1)[:, HORIZON:]
    second = array(model.forecast(window, HORIZON, known=marks[:, 4:28]))
    forecast = array(model.forecast(history, 10, known=marks))
    np.testing.assert_allclose(forecast[:, :8], np.hstack([first, second]), rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(not TENSORFLOW, reason="shapes are static on JAX")
def test_horizon_and_length_may_be_unknown_in_a_graph(make_linear, history):
    import tensorflow as tf

    model = make_linear()
    marks = tf.TensorSpec((None, None, KNOWN), "float32")
    run = tf.function(
        lambda x, horizon, seen: model.forecast(x, horizon, known=seen),
        input_signature=[tf.TensorSpec((None, None)), tf.TensorSpec((), "int32"), marks],
        autograph=False,
    )
    for x, horizon in ((history, 3), (history[:, 13:], 9)):
        seen = known(steps=x.shape[1] + horizon)
        expected = array(model.forecast(x, horizon, known=seen))
        np.testing.assert_allclose(run(x, horizon, seen), expected, rtol=1e-4, atol=1e-3)


def test_a_short_history_is_that_with_hidden_points_before(make_linear, history):
    model = make_linear()
    padded = np.concatenate([np.full((2, 7), 99.0, "float32"), history[:, :13]], axis=1)
    mask = np.broadcast_to(np.arange(20) >= 7, (2, 20))
    marks = known()
    np.testing.assert_allclose(
        array(model.forecast(padded, 3, mask=mask, known=marks[:, :23])),
        array(model.forecast(history[:, :13], 3, known=marks[:, 7:23])),
        rtol=1e-4,
        atol=1e-3,
    )


def test_level_and_unit_move_the_forecast_and_not_the_gate(make_linear, history):
    model, marks = make_linear(), known()
    forecast = array(model.forecast(history, 4, known=marks))
    moved = array(model.forecast(7 * history - 300, 4, known=marks))
    np.testing.assert_allclose(moved, 7 * forecast - 300, rtol=1e-3, atol=1e-2)
    gate = array(model.routing(history, known=marks))
    again = array(model.routing(7 * history - 300, known=marks))
    np.testing.assert_allclose(again, gate, rtol=1e-3, atol=1e-4)


def test_the_gate_sees_the_first_step_that_is_forecast_and_no_other(make_linear, history):
    model, marks = make_linear(), known()
    gate = array(model.routing(history, known=marks))
    assert gate.shape == (2, 1, 1, 4) and ((gate > 0).sum(axis=-1) == 2).all()
    np.testing.assert_allclose(gate.sum(axis=-1), 1, rtol=1e-5)
    for step, seen in ((LOOK_BACK, True), (LOOK_BACK - 1, False), (LOOK_BACK + 1, False)):
        other = marks.copy()
        other[:, step] += 3
        change = np.abs(array(model.routing(history, known=other)) - gate).max()
        assert (change > 1e-3) == seen


def test_covariates_act_at_their_step_by_how_they_differ_from_the_window(make_linear, history):
    model, marks = make_linear(effects=1), known()
    forecast = array(model.forecast(history, HORIZON, known=marks))
    other = marks.copy()
    other[:, LOOK_BACK + 2, 1] += 3
    change = array(model.forecast(history, HORIZON, known=other)) - forecast
    expected = 3 * float(model.effect.kernel[0, 0]) * history.std(axis=1)
    np.testing.assert_allclose(change[:, 2], expected, rtol=1e-3)
    np.testing.assert_allclose(change[:, [0, 1, 3]], 0, atol=1e-3)
    other = marks.copy()
    other[..., 1] += 3  # everywhere alike; the gate is left out of it by its own kernel
    model.gate.kernel.assign(model.gate.kernel * np.where(np.arange(10) < 9, 1, 0)[:, None])
    before = array(model.forecast(history, HORIZON, known=marks))
    np.testing.assert_allclose(
        array(model.forecast(history, HORIZON, known=other)), before, rtol=1e-4, atol=1e-3
    )


def test_a_constant_window_gives_that_constant(make_linear):
    history = np.full((1, LOOK_BACK), 5.0, "float32")
    model = make_linear(moved=False)
    np.testing.assert_allclose(array(model.forecast(history, 9)), 5.0, rtol=1e-6)


def test_what_a_window_looks_like():
    wave = np.tile([-1.0, 1.0, 1.0, -1.0], 3).astype("float32")[None]
    context = array(window_context(ops.convert_to_tensor(wave), season=4))[0]
    last, mean, deviation, change, half, _, agrees, lately = context
    assert (last, mean, change, half) == (-1, 0, 0, 0)
    assert deviation == agrees == lately == 1
    turned = array(window_context(ops.convert_to_tensor(wave), season=2))[0]
    assert turned[6] == turned[7] == -1


def test_experts_learn_what_one_linear_forecast_cannot(make_linear):
    """Two regimes that the calendar tells apart: one repeats the wave, one turns it over."""
    random = np.random.default_rng(0)
    values = random.normal(size=(256, LOOK_BACK)).astype("float32")
    marks = np.zeros((256, LOOK_BACK + HORIZON, KNOWN), "float32")
    marks[::2, LOOK_BACK, 0] = 1.0
    sign = np.where(marks[:, LOOK_BACK, :1] > 0, 1.0, -1.0)
    targets = (sign * values[:, -HORIZON:]).astype("float32")
    targets[5, 2] = np.nan
    model = make_linear(moved=False, rank=4)
    loss = {"forecast": ObservedError()}
    model.compile(keras.optimizers.Adam(0.03), loss, jit_compile=not TENSORFLOW)
    inputs = {"values": values, "known": marks}
    losses = model.fit(inputs, {"forecast": targets}, epochs=30, batch_size=128, verbose=0)
    assert losses.history["loss"][-1] < 0.4  # the best of one linear forecast is near 1


@pytest.mark.parametrize("settings", [{}, {"num_experts": 0}, {"train_shared": False}], ids=str)
def test_keras_file_brings_the_same_model_back(make_linear, history, tmp_path, settings):
    model = make_linear(**settings)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.get_config() == model.get_config()
    for one in (model, loaded):
        assert one.shared.trainable is settings.get("train_shared", True)
    expected = in_mode(lambda x: model.forecast(x, 4), QUICKEST)(history)
    again = in_mode(lambda x: loaded.forecast(x, 4), QUICKEST)(history)
    np.testing.assert_allclose(again, expected, rtol=1e-6)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"`look_back` must be at least 2. Received: 1"):
        LinearMoE(look_back=1, horizon=4)
