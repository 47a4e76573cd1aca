from __future__ import annotations

import numpy as np
import pytest

from keras_modes import TENSORFLOW, array, in_mode
from moe_apps.layers import Monet, MonetRouter

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")

SIZES = {"num_parts": 5, "hidden_dim": 4, "heads": 2, "k": 2}
DECOMPOSITIONS = pytest.mark.parametrize("decomposition", ["horizontal", "vertical"])


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 3, 6)).astype("float32")


def make(**settings) -> Monet:
    layer = Monet(name="monet", **{**SIZES, **settings})
    layer.build((None, None, 6))
    draw = np.random.default_rng(2).normal
    for weight in layer.trainable_variables:
        weight.assign(draw(size=weight.shape))
    return layer


def expert(layer: Monet, i: int, j: int, token: np.ndarray) -> np.ndarray:
    """Expert (i, j) as the network it stands for."""
    n, m = layer.num_parts, layer.hidden_dim
    if layer.decomposition == "horizontal":
        up = array(layer.up[0]).reshape(6, n, m)[:, i]
        hidden = np.maximum(token @ up + array(layer.up_bias[0]).reshape(n, m)[i], 0) ** 2
        return hidden @ array(layer.down[0]).reshape(n, m, 6)[j] + array(layer.down_bias[0])[j]
    up = [array(w).reshape(6, n, m // 2)[:, part] for w, part in zip(layer.up, (i, j), strict=True)]
    bias = [
        array(w).reshape(n, m // 2)[part] for w, part in zip(layer.up_bias, (i, j), strict=True)
    ]
    hidden = np.maximum(token @ np.concatenate(up, axis=1) + np.concatenate(bias), 0) ** 2
    halves = zip(layer.down, layer.down_bias, (i, j), strict=True)
    return np.concatenate(
        [hidden @ array(w).reshape(n, m, 3)[part] + array(b)[part] for w, b, part in halves]
    )


@DECOMPOSITIONS
def test_it_is_the_sum_over_all_pairs(x, decomposition):
    layer = make(decomposition=decomposition)
    outputs, gates = layer(x, return_gates=True)
    gates = array(gates).reshape(-1, 2, 2, 5)
    expected = [
        sum(
            (g[0, :, i] * g[1, :, j]).sum() * expert(layer, i, j, token)
            for i in range(5)
            for j in range(5)
        )
        for token, g in zip(x.reshape(-1, 6), gates, strict=True)
    ]
    np.testing.assert_allclose(array(outputs).reshape(-1, 6), expected, rtol=1e-3, atol=1e-3)


@DECOMPOSITIONS
def test_parameters_grow_with_the_parts_not_with_the_experts(decomposition):
    def count(num_parts: int) -> int:
        return make(num_parts=num_parts, decomposition=decomposition).count_params()

    assert count(30) - count(20) == count(20) - count(10)


def test_gates_are_the_formula(x):
    router = MonetRouter(num_parts=5, heads=2, k=2)
    router.build(x.shape)
    router.mean.assign(np.full((2, 2, 1), 0.3))
    router.variance.assign(np.full((2, 2, 1), 0.5))
    scores = (x @ array(router.kernel)).reshape(2, 3, 2, 2, 5)
    normal = (scores - 0.3) / np.sqrt(0.5 + 1e-5)
    on = normal >= np.minimum(normal.max(axis=-1, keepdims=True), 0.2533471)  # Phi^-1(1 - 2/5)
    powers = np.exp(scores) * on
    gates = array(router(x))
    np.testing.assert_allclose(gates, powers / powers.sum(axis=-1, keepdims=True), rtol=1e-4)
    assert (on.sum(axis=-1) > 1).any() and (on.sum(axis=-1) == 1).any()


def test_one_part_at_least_is_on_and_about_k_are():
    draw = np.random.default_rng(3).normal
    tokens = draw(size=(400, 32)).astype("float32")
    router = MonetRouter(num_parts=64, heads=3, k=8)
    router.build(tokens.shape)
    router.kernel.assign(draw(size=(32, 2 * 3 * 64)))
    active = (array(router(tokens, training=True)) > 0).sum(axis=-1)
    assert active.min() >= 1
    np.testing.assert_allclose(active.mean(), 8, rtol=0.1)
    low = MonetRouter(num_parts=64, heads=3, k=8)
    low.build(tokens.shape)
    low.kernel.assign(router.kernel)
    low.mean.assign(np.full((2, 3, 1), 60.0))  # nothing comes near the threshold
    gates = array(low(tokens))
    assert ((gates > 0).sum(axis=-1) == 1).all() and np.isfinite(gates).all()


def test_training_follows_the_batch_and_inference_does_not(x, mode):
    router = MonetRouter(num_parts=5, heads=2, k=2, momentum=0.75)
    router.build(x.shape)
    scores = (x @ array(router.kernel)).reshape(-1, 2, 2, 5)
    router(x, training=True)
    mean = scores.mean(axis=(0, 3))[..., None]
    np.testing.assert_allclose(array(router.mean), 0.25 * mean, rtol=1e-4, atol=1e-6)
    variance = scores.var(axis=(0, 3))[..., None]
    np.testing.assert_allclose(array(router.variance), 0.75 + 0.25 * variance, rtol=1e-4)
    whole, alone = in_mode(router, mode)(x), in_mode(router, mode)(x[:1])
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-5)
    np.testing.assert_allclose(array(router.mean), 0.25 * mean, rtol=1e-4, atol=1e-6)


def test_padding_enters_no_statistic(x):
    mask = np.broadcast_to(np.arange(3) < 2, (2, 3))
    padded, alone = make(), make()
    padded(np.where(mask[..., None], x, 50), mask=mask, training=True)
    alone(x[:, :2], training=True)
    for name in ("mean", "variance"):
        one, two = (array(getattr(layer.router, name)) for layer in (padded, alone))
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_a_layer_may_use_the_gates_of_another(x):
    first, second = make(), make(routed=False)
    gates = first(x, return_gates=True)[1]
    assert len(second.weights) == len(first.weights) - 3
    np.testing.assert_allclose(array(second(x, gates=gates)), array(first(x)), rtol=1e-5)
    with pytest.raises(ValueError, match="needs `gates` at every call"):
        second(x)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 5}, r"`k` must be in \[1, num_parts\)\. Received: k=5"),
        ({"heads": 0}, r"`heads` must be at least 1\. Received: 0"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\)\. Received: 1\.0"),
        ({"decomposition": "both"}, "`decomposition` must be"),
        ({"decomposition": "vertical", "hidden_dim": 3}, r"and even if vertical\. Received: 3"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Monet(**{**SIZES, **settings})
    with pytest.raises(ValueError, match=r"needs even features\. Received: 5"):
        Monet(**SIZES, decomposition="vertical").build((None, 5))
