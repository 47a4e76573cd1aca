from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import MoRA


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(16, 6)).astype("float32")


def make(rows: np.ndarray, draw: int = 1, **settings) -> MoRA:
    """A layer of which the first `draw` tasks are as if trained."""
    layer = MoRA(keras.layers.Dense(4), **{"num_tasks": 3, "rank": 3, "k": 1, **settings})
    layer.build(rows.shape)
    for pairs in layer.pairs[:draw]:
        pairs.b.assign(np.random.default_rng(1).normal(size=pairs.b.shape))
    return layer


def by_hand(layer: MoRA, rows: np.ndarray, chosen) -> np.ndarray:
    expected = array(layer.base(rows))
    for pairs in layer.pairs:
        a, b = array(pairs.a), array(pairs.b)
        response = rows @ a
        relevance = np.abs(response)
        relevance /= np.linalg.norm(rows, axis=-1, keepdims=True) * np.linalg.norm(a, axis=0)
        strength = np.exp((relevance - 1) / layer.temperature) * chosen(relevance)
        expected = expected + layer.alpha / layer.rank * (strength * response) @ b
    return expected


def test_pairs_choose_themselves(rows):
    layer = make(rows, draw=2, threshold=0.4, temperature=0.5)
    above = by_hand(layer, rows, lambda relevance: relevance >= 0.4)
    np.testing.assert_allclose(array(layer(rows)), above, rtol=1e-4, atol=1e-5)
    best = by_hand(layer, rows, lambda r: r == r.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(array(layer(rows, training=True)), best, rtol=1e-4, atol=1e-5)


def test_nothing_is_relevant_enough_for_a_threshold_of_more_than_1(rows):
    layer = make(rows, threshold=1.01)
    np.testing.assert_array_equal(array(layer(rows)), array(layer.base(rows)))


def test_a_new_task_changes_no_output_and_no_old_pair(rows):
    inputs = keras.Input((6,))
    layer = MoRA(keras.layers.Dense(4), num_tasks=2, rank=3, k=1)
    model = keras.Model(inputs, layer(inputs))
    layer.pairs[0].b.assign(np.random.default_rng(1).normal(size=(3, 4)))
    before = [array(layer(rows, training=training)) for training in (False, True)]
    single = MoRA(layer.base, num_tasks=1, rank=3, k=1)
    single.build(rows.shape)
    for weight, value in zip(single.pairs[0].weights, layer.pairs[0].weights, strict=True):
        weight.assign(value)
    np.testing.assert_array_equal(array(single(rows)), before[0])  # no room for a second task

    layer.start_task(1)
    for training, value in zip((False, True), before, strict=True):
        np.testing.assert_array_equal(array(layer(rows, training=training)), value)
    old = [array(w) for w in (*layer.base.weights, *layer.pairs[0].weights)]
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1), "mse")
    model.fit(rows, np.ones((16, 4)), epochs=3, verbose=0)
    now = [array(w) for w in (*layer.base.weights, *layer.pairs[0].weights)]
    for one, two in zip(old, now, strict=True):
        np.testing.assert_array_equal(one, two)
    assert array(layer.pairs[1].b).any()


def test_one_task_is_trained_whatever_is_set_around_it(rows):
    layer = make(rows)
    for trainable in (False, True):
        layer.trainable = trainable
    assert layer.trainable_weights == layer.pairs[0].weights
    layer.start_task(2)
    assert layer.trainable_weights == layer.pairs[2].weights
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.build(rows.shape)
    assert again.trainable_weights == again.pairs[2].weights


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_tasks": 0}, r"`num_tasks` must be at least 1\. Received: 0"),
        ({"k": 4}, r"`k` must be in \[1, rank\]\. Received: k=4, rank=3"),
        ({"temperature": 0.0}, r"`temperature` must be positive\. Received: 0\.0"),
        ({"task": 3}, r"`task` must be in \[0, 3\)\. Received: 3"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        make(rows, **settings)


def test_an_unknown_task_cannot_start(rows):
    with pytest.raises(ValueError, match=r"`task` must be in \[0, 3\)\. Received: -1"):
        make(rows).start_task(-1)
