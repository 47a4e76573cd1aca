"""MoHETS: its size, what its parts see, how windows follow each other."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.models.forecasting import MoHETS
from moe_apps.models.forecasting.losses import ObservedError
from moe_apps.models.forecasting.mohets_layers import (
    GroupedQueryAttention,
    PatchDecoder,
    PatchEmbedding,
    rotate_pairs,
)

LOOK_BACK, STEPS, KNOWN = 16, 4, 3


@pytest.fixture
def make_mohets():
    def make(**settings) -> MoHETS:
        keras.utils.set_random_seed(1)
        sizes = {"num_layers": 1, "num_heads": 2, "num_key_heads": 1, "hidden_dim": 8, "patch": 4}
        sizes |= {"intermediate_dim": 8, "num_experts": 4, "known_features": KNOWN}
        return MoHETS(LOOK_BACK, STEPS, **{**sizes, "scaled_init": True, **settings})

    return make


@pytest.fixture
def window() -> np.ndarray:
    return np.random.default_rng(0).normal(10, 3, size=(2, LOOK_BACK)).astype("float32")


def known(steps: int = LOOK_BACK + STEPS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, steps, KNOWN)).astype("float32")


def forecaster(model: MoHETS, horizon: int, mode: str = QUICKEST):
    return in_mode(lambda x, marks: model.forecast(x, horizon, known=marks), mode)


def test_size_of_small_on_weather_is_that_of_the_code():
    with keras.StatelessScope(initialize_variables=False):  # nothing is allocated
        model = MoHETS.from_preset("small", channels=21, known_features=5)
    sizes = [int(np.prod(v.shape, dtype="int64")) for v in model.trainable_variables]
    keras.backend.clear_session()
    assert sum(sizes) == 2_535_200


def test_the_dense_twin_is_as_large_as_what_is_active():
    def size(**settings):
        return MoHETS.from_preset("tiny", look_back=24, num_layers=2, **settings).count_params()

    layers, width, hidden = 2, 64, 128
    one_expert = 2 * (3 * width * hidden // 4)  # cosine and sine share a quarter of a layer
    assert size(dense=True) == size() - layers * (6 * one_expert + width * 8)


def test_rotation_keeps_lengths_and_knows_only_distances():
    x = np.random.default_rng(0).normal(size=(1, 6, 1, 4)).astype("float32")
    turned = array(rotate_pairs(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(x), rtol=1e-5)
    same = np.repeat(x[:, :1], 6, axis=1)
    turned = array(rotate_pairs(ops.convert_to_tensor(same)))[0, :, 0]
    products = turned @ turned.T
    np.testing.assert_allclose(products[0, 2], products[3, 5], rtol=1e-5)
    expected = x[0, 0, 0, 0] * np.cos(1) - x[0, 0, 0, 1] * np.sin(1)  # the first pair, one step on
    np.testing.assert_allclose(turned[1, 0], expected, rtol=1e-5)


def test_attention_by_groups_beside_a_plain_loop():
    keras.utils.set_random_seed(0)
    layer = GroupedQueryAttention(num_heads=4, num_key_heads=2)
    draw = np.random.default_rng(0).normal
    x, context = draw(size=(1, 5, 16)).astype("float32"), draw(size=(1, 3, 16)).astype("float32")
    outputs = array(layer(ops.convert_to_tensor(x), context=ops.convert_to_tensor(context)))

    def heads(dense, values, count):
        split = ops.reshape(dense(ops.convert_to_tensor(values)), (1, -1, count, 4))
        return array(rotate_pairs(split))[0]

    query, key = heads(layer.query, x, 4), heads(layer.key, context, 2)
    value = array(layer.value(ops.convert_to_tensor(context))).reshape(3, 2, 4)
    mixed = np.zeros((5, 4, 4))
    for head in range(4):
        scores = query[:, head] @ key[:, head // 2].T / 2
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        mixed[:, head] = weights @ value[:, head // 2]
    expected = mixed.reshape(5, 16) @ array(layer.output_projection.kernel)
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-5)


def test_patches_there_and_back_keep_the_order_of_time():
    embedding, decoder = PatchEmbedding(4, 8), PatchDecoder(4)
    series = np.zeros((2, 12), "float32")
    series[1, 5] = 1.0
    tokens = array(embedding(ops.convert_to_tensor(series)))
    assert tokens.shape == (2, 3, 8)
    apart = np.abs(tokens[1] - tokens[1, :1]).max(axis=-1)
    assert apart[1] > 0.1 and apart[2] < 1e-5  # the value is in the second patch alone
    assert tuple(decoder(ops.convert_to_tensor(tokens)).shape) == (2, 12, 1)


def test_forecasts_agree_in_every_mode(make_mohets, window, mode):
    model, marks = make_mohets(), known(LOOK_BACK + 6)
    expected = array(model.forecast(window, 6, known=marks))
    assert expected.std() > 0.1
    np.testing.assert_allclose(
        forecaster(model, 6, mode)(window, marks), expected, rtol=1e-4, atol=1e-3
    )


def test_the_window_moves_on_with_what_is_known_of_it(make_mohets, window):
    model, marks = make_mohets(), known(LOOK_BACK + 8)
    call = in_mode(lambda x, seen: model({"values": x, "known": seen})["moved"], QUICKEST)
    first = call(window, marks[:, :20])[:, -STEPS:]
    moved = np.concatenate([window, first], axis=1)[:, STEPS:]
    second = call(moved, marks[:, STEPS:])[:, -STEPS:]
    forecast = forecaster(model, 8)(window, marks)
    np.testing.assert_allclose(forecast, np.hstack([first, second]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("one_shot", [False, True])
def test_what_is_known_of_the_future_counts_only_where_it_is_queried(make_mohets, window, one_shot):
    model, marks = make_mohets(one_shot=one_shot), known()
    forecast = forecaster(model, STEPS)
    before, other = forecast(window, marks), marks.copy()
    other[:, LOOK_BACK + 1] += 3
    assert (np.abs(forecast(window, other) - before).max() > 1e-4) == one_shot
    other = marks.copy()
    other[:, 2] += 3
    assert np.abs(forecast(window, other) - before).max() > 1e-5


def test_other_channels_enter_as_covariates(make_mohets):
    model = make_mohets(channels=2, known_features=0)
    values = np.random.default_rng(0).normal(size=(3, LOOK_BACK, 2)).astype("float32")
    call = in_mode(lambda x: model({"values": x})["moved"], QUICKEST)
    outputs = call(values)
    assert outputs.shape == values.shape
    changed = values.copy()
    changed[..., 1] = changed[::-1, :, 1]
    assert np.abs(call(changed)[0, :, 0] - outputs[0, :, 0]).max() > 1e-5
    with pytest.raises(ValueError, match="one channel"):
        model.forecast(values, 3)


def test_level_and_unit_do_not_matter(make_mohets, window):
    forecast, marks = forecaster(make_mohets(), STEPS), known()
    moved = forecast(7 * window - 300, marks)
    np.testing.assert_allclose(moved, 7 * forecast(window, marks) - 300, rtol=1e-3, atol=1e-2)


def test_routing_is_that_of_the_patch(make_mohets, window):
    weights = in_mode(make_mohets(num_layers=2).routing, QUICKEST)(window)
    assert weights.shape == (2, LOOK_BACK, 2, 4) and ((weights > 0).sum(axis=-1) == 2).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 3])


@pytest.mark.parametrize(
    "settings", [{}, pytest.param({"one_shot": True}, marks=pytest.mark.slow)], ids=str
)
def test_training_lowers_the_loss_and_a_file_brings_it_back(
    make_mohets, window, tmp_path, settings
):
    model = make_mohets(dropout=0.1, **settings)
    name, length = ("forecast", STEPS) if settings else ("moved", LOOK_BACK)
    targets = np.tile(window, (8, 1))[:, -length:]
    targets[3, 1] = np.nan
    loss = {name: ObservedError("huber", ahead=STEPS, weight_behind=0.5)}
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=not TENSORFLOW)
    inputs = {"values": np.tile(window, (8, 1)), "known": np.tile(known(), (8, 1, 1))}
    losses = model.fit(inputs, {name: targets}, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < 0.9 * losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.get_config() == model.get_config()
    expected = forecaster(model, 3)(window, known())
    np.testing.assert_allclose(forecaster(loaded, 3)(window, known()), expected, rtol=1e-5)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"`look_back` 20 must be a multiple of `patch` 16"):
        MoHETS(look_back=20)
    with pytest.raises(ValueError, match=r"Unknown preset 'ultra'. Known: tiny, small, base"):
        MoHETS.from_preset("ultra")
