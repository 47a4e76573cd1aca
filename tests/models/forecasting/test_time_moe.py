from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_modes import QUICKEST, TENSORFLOW, in_mode
from moe_apps.models.forecasting import TimeMoE, greedy_schedule
from moe_apps.models.forecasting.losses import PositionwiseHuber

PAPER = (1, 8, 32, 64)


def forecaster(model: TimeMoE, horizon: int, **arguments) -> Callable[[np.ndarray], np.ndarray]:
    return in_mode(lambda history: model.forecast(history, horizon, **arguments), QUICKEST)


def caller(model: TimeMoE) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    return in_mode(lambda values: model({"values": values}), QUICKEST)


# === Schedule ===


@pytest.mark.parametrize(
    "horizon, schedule",
    [
        (96, [64, 32]),
        (192, [64] * 3),
        (336, [64] * 5 + [8, 8]),
        (720, [64] * 11 + [8, 8]),
        (100, [64, 32, 1, 1, 1, 1]),
        (1, [1]),
    ],
)
def test_greedy_schedules(horizon, schedule):
    assert greedy_schedule(horizon, PAPER) == schedule


@given(st.integers(1, 1000), st.sets(st.integers(2, 80)))
def test_any_horizon_is_met_largest_first(horizon, lengths):
    schedule = greedy_schedule(horizon, (1, *lengths))
    assert sum(schedule) == horizon
    assert schedule == sorted(schedule, reverse=True)


def test_a_horizon_below_one_is_refused():
    with pytest.raises(ValueError, match=r"`horizon` must be at least 1. Received: 0"):
        greedy_schedule(0, PAPER)


# === Sizes ===


@pytest.mark.parametrize(
    "preset, total",
    [
        ("base", 113_352_192),
        pytest.param("large", 453_196_800, marks=pytest.mark.slow),
        pytest.param("ultra", 2_416_545_792, marks=pytest.mark.slow),
    ],
)
def test_sizes_are_those_of_the_paper(preset, total):
    with keras.StatelessScope(initialize_variables=False):  # nothing is allocated
        model = TimeMoE.from_preset(preset)
    sizes = [int(np.prod(v.shape, dtype="int64")) for v in model.trainable_variables]
    keras.backend.clear_session()  # or Keras gives the variables their values later on
    assert sum(sizes) == total


def test_size_of_base_by_hand():
    width, layers, experts, hidden = 384, 12, 8, 1536
    attention = 4 * width * width + 3 * width
    routed = experts * 3 * width * (hidden // 2) + width * experts
    shared = 3 * width * hidden + width
    block = attention + routed + shared + 2 * width
    assert 2 * width + layers * block + width + width * sum(PAPER) == 113_352_192


def test_the_dense_twin_is_as_large_as_what_is_active():
    width, layers, experts, k, hidden = 32, 2, 8, 2, 64
    sparse, twin = TimeMoE.from_preset("tiny"), TimeMoE.from_preset("tiny", dense=True)
    idle = layers * (experts - k) * 3 * width * (hidden // k)
    router_and_gate = layers * (width * experts + width)
    assert twin.count_params() == sparse.count_params() - idle - router_and_gate


# === Forecasts ===


def by_the_schedule(model: TimeMoE, history: np.ndarray, horizon: int) -> np.ndarray:
    """Forecast block by block, each from a fresh call on history and forecasts so far."""
    mean, scale = 0.0, 1.0
    if model.normalize:
        mean, scale = history.mean(axis=1, keepdims=True), history.std(axis=1, keepdims=True)
    plain = TimeMoE(model.backbone, model.context_length, model.horizon_lengths, normalize=False)
    plain.set_weights(model.get_weights())
    values, outputs = (history - mean) / scale, caller(plain)
    for length in greedy_schedule(horizon, model.horizon_lengths):
        new = outputs(values)[f"horizon_{length}"][:, -1]
        values = np.concatenate([values, new], axis=1)
    return values[:, history.shape[1] :] * scale + mean


@pytest.mark.parametrize("normalize", [True, False])
def test_forecasts_follow_the_schedule(make_model, history, normalize):
    model = make_model(normalize=normalize)
    history, horizon = (history, 12) if normalize else (history / 50, 4)
    np.testing.assert_allclose(
        forecaster(model, horizon)(history),
        by_the_schedule(model, history, horizon),
        rtol=1e-4,
        atol=1e-4,
    )


def test_forecasts_agree_in_every_mode(make_model, history, mode):
    model = make_model()
    expected = forecaster(model, 12)(history)
    assert expected.std() > 0.1
    run = in_mode(lambda x: model.forecast(x, 12), mode)
    np.testing.assert_allclose(run(history), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not TENSORFLOW, reason="shapes are static on JAX")
def test_the_horizon_may_be_a_tensor(make_model, history):
    import tensorflow as tf

    model = make_model()
    run = tf.function(
        model.forecast,
        input_signature=[tf.TensorSpec((None, None), "float32"), tf.TensorSpec((), "int32")],
        autograph=False,
    )
    for x, horizon in ((history, 5), (history[:1, :7], 12)):
        expected = forecaster(model, horizon)(x)
        np.testing.assert_allclose(run(x, horizon), expected, rtol=1e-4, atol=1e-4)


def test_a_series_is_forecast_by_itself_alone(make_model, history):
    forecast = forecaster(make_model(), 9)
    np.testing.assert_allclose(forecast(history[1:]), forecast(history)[1:], rtol=1e-4, atol=1e-4)


def test_padding_on_the_left_changes_nothing(make_model, history):
    model = make_model()
    padded = np.concatenate([np.full((2, 5), -99.0, "float32"), history], axis=1)
    mask = np.broadcast_to(np.arange(25) >= 5, (2, 25))
    np.testing.assert_allclose(
        forecaster(model, 3, mask=mask)(padded),
        forecaster(model, 3)(history),
        rtol=1e-4,
        atol=1e-3,
    )
    weights = in_mode(lambda x: model.routing(x, mask=mask), QUICKEST)(padded)
    assert not weights[:, :5].any()
    alone = in_mode(model.routing, QUICKEST)(history)
    np.testing.assert_allclose(weights[:, 5:], alone, rtol=1e-3, atol=1e-5)


def test_a_later_value_changes_no_earlier_output(make_model, history):
    outputs = caller(make_model(normalize=False))
    changed = history.copy()
    changed[:, 12:] += 5
    before, after = (outputs(values / 50) for values in (history, changed))
    for name in before:
        one, two = before[name], after[name]
        np.testing.assert_allclose(two[:, :12], one[:, :12], rtol=1e-5, atol=1e-6)
        assert np.abs(two[:, 12:] - one[:, 12:]).max() > 1e-4


def test_targets_after_the_context_do_not_touch_its_scale(make_model, history):
    """Training windows hold the targets too; they must not leak through the normalisation."""
    outputs = caller(make_model(context_length=12))
    changed = history.copy()
    changed[:, 12:] *= 3
    before, after = (outputs(values)["horizon_3"] for values in (history, changed))
    np.testing.assert_allclose(after[:, :12], before[:, :12], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_units_are_no_matter_when_windows_are_normalised(make_model, history, normalize):
    forecast = forecaster(make_model(normalize=normalize), 9)
    moved = forecast(7 * history - 300)
    assert np.allclose(moved, 7 * forecast(history) - 300, rtol=1e-3, atol=1e-2) is normalize


def test_a_constant_history_gives_finite_numbers(make_model):
    constants = np.array([0.0, 5.0, 1e6, 1e-9], "float32")
    history = np.repeat(constants[:, None], 20, axis=1)
    assert np.isfinite(forecaster(make_model(), 9)(history)).all()


def test_one_point_of_history_is_enough(make_model, history):
    assert np.isfinite(forecaster(make_model(), 9)(history[:, :1])).all()


def test_outputs_are_float32_under_every_policy(make_model, history):
    """And values reach the model unrounded: in bfloat16, 1000.5 and 1003 are one number."""
    exact = make_model(dense=True)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = make_model(dense=True)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(exact.get_weights())
    assert mixed.backbone.get_layer("ffn_0").compute_dtype == "bfloat16"
    far = 1000 + history
    expected = caller(exact)(far)
    for name, output in caller(mixed)(far).items():
        assert output.dtype == np.float32
        error = (output - expected[name]).std() / expected[name].std(axis=1).mean()
        assert error < 0.05, name
    assert forecaster(mixed, 3)(far).dtype == np.float32


def test_routing_weighs_k_experts_of_each_layer(make_model, history):
    weights = in_mode(make_model(num_layers=2).routing, QUICKEST)(history)
    assert weights.shape == (2, 20, 2, 8)
    assert ((weights > 0).sum(axis=-1) == 2).all()
    assert (weights.sum(axis=-1) < 1).all()  # not renormalised


# === Training and saving ===


@pytest.mark.parametrize("dense", [False, True])
def test_training_lowers_the_loss_with_missing_targets(make_model, history, dense):
    windows = np.tile(history, (4, 1))
    targets = windows.copy()
    targets[:, 5] = np.nan
    model = make_model(context_length=12, dense=dense)
    losses = {name: PositionwiseHuber() for name in ("horizon_1", "horizon_3", "horizon_8")}
    model.compile(keras.optimizers.Adam(0.01), losses, jit_compile=not TENSORFLOW)
    inputs = {"values": windows, "mask": np.ones(windows.shape, "bool")}
    result = model.fit(inputs, dict.fromkeys(losses, targets), epochs=12, verbose=0).history
    assert np.isfinite(result["loss"]).all()
    assert result["loss"][-1] < 0.8 * result["loss"][0]


@pytest.mark.parametrize("settings", [{}, {"dense": True}, {"balance_form": "code"}], ids=str)
def test_keras_file_and_config_bring_the_same_model_back(make_model, history, tmp_path, settings):
    model = make_model(**settings)
    again = TimeMoE.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        forecaster(loaded, 3)(history), forecaster(model, 3)(history), rtol=1e-6, atol=1e-6
    )


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"Unknown preset 'huge'. Known: tiny, small, base"):
        TimeMoE.from_preset("huge")
    with pytest.raises(ValueError, match=r"`horizon_lengths` must .* include 1. Received: \(8,\)"):
        TimeMoE.from_preset("tiny", horizon_lengths=(8,))
