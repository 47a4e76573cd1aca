from __future__ import annotations

import numpy as np
import pytest

from keras_modes import TENSORFLOW, array, step
from moe_apps.layers import PEER

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 5, 6)).astype("float32")


def make(**settings) -> PEER:
    settings = {"num_experts": 49, "heads": 3, "k": 4, "key_dim": 2, **settings}
    layer = PEER(name="peer", **settings)
    layer.build((None, None, 6))
    draw = np.random.default_rng(2).normal
    layer.set_weights([draw(size=weight.shape) for weight in layer.get_weights()])
    return layer


def by_hand(layer: PEER, x: np.ndarray) -> np.ndarray:
    """Every head scores all experts; the k best of 49 answer."""
    query, keys, down, up = (array(weight).astype("float64") for weight in layer.weights)
    outputs = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        token = x[place]
        queries = (token @ query).reshape(layer.heads, 2, layer.key_dim)
        for (first, second), (keys_1, keys_2) in zip(queries, keys, strict=True):
            scores = np.array([a @ first + b @ second for a in keys_1 for b in keys_2])
            found = np.argsort(-scores)[: layer.k]
            weights = np.exp(scores[found] - scores[found].max())
            if layer.scores == "softmax":
                weights = weights / weights.sum()
            else:
                weights = np.maximum(scores[found], 0)
            for expert, weight in zip(found, weights, strict=True):
                outputs[place] += weight * np.tanh(down[expert] @ token) * up[expert]
    return outputs


@pytest.mark.parametrize("scores", ["softmax", "relu"])
def test_the_best_experts_of_all_answer(x, scores):
    layer = make(activation="tanh", scores=scores)
    np.testing.assert_allclose(array(layer(x)), by_hand(layer, x), rtol=1e-3, atol=1e-3)


def test_routing_names_what_was_found(x):
    outputs, routing = make()(x, return_routing=True)
    assert tuple(outputs.shape) == (2, 5, 6)
    indices, weights = array(routing["indices"]), array(routing["weights"])
    assert indices.shape == weights.shape == (2, 5, 3, 4)
    assert all(len(set(found)) == 4 for found in indices.reshape(-1, 4).tolist())
    assert indices.min() >= 0 and indices.max() < 49
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    assert (np.diff(weights, axis=-1) <= 0).all()


def test_only_the_experts_found_learn(x):
    layer = make()
    found = np.unique(array(layer(x[:1, :1], return_routing=True)[1]["indices"]))
    result = step(layer, x[:1, :1], "eager")
    names = [variable.name for variable in layer.trainable_variables]
    for name in ("down", "up"):
        changed = np.flatnonzero(result.gradients[names.index(name)].any(axis=-1))
        np.testing.assert_array_equal(changed, found)
    assert all(result.gradients[names.index(name)].any() for name in ("query", "keys"))


def test_padding_gets_nothing(x):
    outputs = array(make()(x, mask=np.broadcast_to(np.arange(5) < 3, (2, 5))))
    assert not outputs[:, 3:].any()
    np.testing.assert_allclose(outputs[:, :3], array(make()(x[:, :3])), rtol=1e-4, atol=1e-5)


def test_the_search_is_float32_under_every_policy(x):
    half = np.round(x * 8) / 8  # exact in bfloat16
    one, two = (
        make(dtype=dtype)(half, return_routing=True)[1] for dtype in ("float32", "mixed_bfloat16")
    )
    np.testing.assert_array_equal(array(one["indices"]), array(two["indices"]))
    np.testing.assert_allclose(array(one["weights"]), array(two["weights"]), rtol=1e-6)


def test_the_search_costs_the_root_of_the_number_of_experts():
    def keys(num_experts: int) -> int:
        return make(num_experts=num_experts).keys.value.shape[2]

    assert (keys(49), keys(196)) == (7, 14)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_experts": 50}, r"`num_experts` must be a square\. Received: 50"),
        ({"k": 0}, r"`k` must be at least 1\. Received: k=0"),
        ({"heads": 0}, r"`heads` must be at least 1\. Received: heads=0"),
        ({"k": 50}, "`k` is 50, but there are only 49 experts"),
        ({"scores": "none"}, r"`scores` must be \"softmax\" or \"relu\"\. Received: 'none'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PEER(**{"num_experts": 49, "k": 4, **settings})
