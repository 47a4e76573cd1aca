from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, in_mode, step
from moe_apps.layers import FlyLoRA


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 12)).astype("float32")


def make(rows: np.ndarray, **settings) -> FlyLoRA:
    layer = FlyLoRA(keras.layers.Dense(5), **{"rank": 6, "k": 2, "seed": 1, **settings})
    layer.build(rows.shape)
    layer.b.assign(np.random.default_rng(1).normal(size=layer.b.shape))
    return layer


@pytest.mark.parametrize("signed", [False, True])
def test_exactly_k_ranks_are_active(rows, signed):
    layer = make(rows, signed=signed, alpha=3.0)
    d = np.array([0.3, -0.2, 0.0, 0.1, 0.0, -0.3], "float32")
    layer.d.assign(d)
    h = rows @ array(layer.a)
    scores = h + d if signed else np.abs(h + d)
    kept = scores >= np.sort(scores, axis=-1)[:, -2:-1]
    assert (kept.sum(axis=-1) == 2).all()
    expected = array(layer.base(rows)) + 0.5 * (h * kept) @ array(layer.b)
    np.testing.assert_allclose(array(layer(rows)), expected, rtol=1e-4, atol=1e-5)


def test_a_is_sparse_frozen_and_of_its_seed(rows):
    layer = make(rows)
    a = array(layer.a)
    assert ((a != 0).sum(axis=0) == 12 * 2 // 6).all()
    assert [weight.name for weight in layer.trainable_weights] == ["b"]
    layer.trainable = False
    layer.trainable = True
    assert [weight.name for weight in layer.trainable_weights] == ["b"]
    np.testing.assert_array_equal(array(make(rows).a), a)
    assert (array(make(rows, seed=2).a) != a).any()
    result = step(layer, rows)
    assert len(result.gradients) == 1 and result.gradients[0].any()


def test_entries_of_a_have_the_deviation_of_the_rank(rows):
    layer = FlyLoRA(keras.layers.Dense(2), rank=32, k=8, seed=0)
    layer.build((None, 512))
    a = array(layer.a)
    assert ((a != 0).sum(axis=0) == 128).all()
    np.testing.assert_allclose(a[a != 0].std(), 1 / 32, rtol=0.05)


def test_updates_of_other_seeds_are_nearly_orthogonal():
    def unit_columns(seed: int) -> np.ndarray:
        layer = FlyLoRA(keras.layers.Dense(2), rank=8, k=2, seed=seed)
        layer.build((None, 1024))
        return array(layer.a) / np.linalg.norm(array(layer.a), axis=0)

    one, two = unit_columns(1), unit_columns(2)
    assert np.abs(one.T @ two).max() < 0.2
    np.testing.assert_allclose(np.abs(one.T @ one).diagonal(), 1, rtol=1e-5)


def test_the_bias_moves_against_the_load_in_training_only(rows):
    layer = make(rows, bias_step=0.1)
    layer(rows)
    assert not array(layer.d).any()
    mask = np.arange(40) < 25
    h = (rows @ array(layer.a))[mask]
    counts = np.bincount(np.argsort(-np.abs(h))[:, :2].ravel(), minlength=6)
    layer(rows, mask=mask, training=True)
    expected = 0.1 * np.sign(counts.mean() - counts)
    np.testing.assert_allclose(array(layer.d), expected, rtol=1e-6)
    layer(rows, mask=np.zeros(40, bool), training=True)
    np.testing.assert_allclose(array(layer.d), expected, rtol=1e-6)


def test_the_bias_evens_the_load_out(rows):
    layer = make(rows, signed=True, bias_step=0.01)
    layer.a.assign(array(layer.a) * np.array([9, 5, 1, 1, 1, 1]))

    def spread() -> int:
        chosen = in_mode(lambda x: layer.chosen_ranks(x @ layer.a), "eager")(rows)
        counts = np.bincount(chosen.ravel(), minlength=6)
        return counts.max() - counts.min()

    before = spread()
    for _ in range(60):
        layer(rows, training=True)
    assert spread() < before / 2


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rank": 0}, r"`rank` must be at least 1\. Received: 0"),
        ({"k": 7}, r"`k` must be in \[1, rank\]\. Received: k=7, rank=6"),
        ({"alpha": -1.0}, r"`alpha` must be positive\. Received: -1\.0"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        make(rows, **settings)
