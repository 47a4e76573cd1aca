from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import AdaptDHM


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 6)).astype("float32")


def with_drawn_networks(layer: AdaptDHM) -> AdaptDHM:
    rng = np.random.default_rng(1)
    for weight in layer.moe.experts.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def test_a_row_is_served_by_the_network_of_its_cluster(rows):
    layer = AdaptDHM(num_clusters=3, units=(5, 2))
    layer.build(rows.shape)
    with_drawn_networks(layer)
    outputs, routing = layer(rows, return_routing=True)
    centres = array(layer.moe.router.kernel)
    centres = centres / np.linalg.norm(centres, axis=0)
    cluster = (rows @ centres).argmax(axis=-1)
    assert len(set(cluster)) > 1
    np.testing.assert_array_equal(array(routing["weights"]), np.eye(3)[cluster])
    bank = layer.moe.experts
    own = [array(w) for w in bank.stacked_weights]
    shared = [array(w) for w in bank.shared_weights]
    for row, k, output in zip(rows, cluster, array(outputs), strict=True):
        hidden = np.maximum(row @ (shared[0] * own[0][k]) + (shared[1] + own[1][k])[0], 0)
        expected = hidden @ (shared[2] * own[2][k]) + (shared[3] + own[3][k])[0]
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)


def test_no_gradient_reaches_the_centres_and_padding_gets_nothing(rows):
    layer = AdaptDHM(num_clusters=3, units=(5, 2))
    layer.build(rows.shape)
    assert not any("router" in weight.path for weight in layer.trainable_weights)
    assert len(layer.trainable_weights) == 8
    result = step(with_drawn_networks(layer), rows, mask=np.arange(12) < 8)
    assert not result.outputs[8:].any() and not result.input_gradient[8:].any()
    assert all(gradient.any() for gradient in result.gradients)


def test_all_networks_are_equal_at_first(rows):
    layer = AdaptDHM(num_clusters=3, units=(5, 2))
    layer.build(rows.shape)
    before = array(layer(rows))
    layer.moe.router.kernel.assign(-array(layer.moe.router.kernel))
    np.testing.assert_allclose(array(layer(rows)), before, rtol=1e-5, atol=1e-6)
