from __future__ import annotations

from math import erf

import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import DepthwiseConvFFN, FourierExperts, MoE, TopK

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 7, 6)).astype("float32")


def by_hand(layer: DepthwiseConvFFN, x: np.ndarray, before: int) -> np.ndarray:
    depthwise, up, down, gate = (array(weight) for weight in layer.weights)
    mixed = np.zeros_like(x)
    for time in range(x.shape[1]):
        for tap in range(layer.kernel_size):
            if 0 <= time + tap - before < x.shape[1]:
                mixed[:, time] += x[:, time + tap - before] * depthwise[tap, :, 0]
    hidden = mixed @ up
    hidden = hidden * (1 + np.vectorize(erf)(hidden / np.sqrt(2))) / 2
    return hidden @ down / (1 + np.exp(-(x @ gate)))


@pytest.mark.parametrize("causal, size, before", [(False, 3, 1), (False, 4, 1), (True, 3, 2)])
def test_it_is_the_formula(x, causal, size, before):
    layer = DepthwiseConvFFN(5, kernel_size=size, causal=causal)
    outputs = array(layer(x))
    np.testing.assert_allclose(outputs, by_hand(layer, x, before), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal, reached", [(False, [2, 3, 4]), (True, [3, 4, 5])])
def test_a_token_reaches_its_neighbours_through_the_shared_path_only(x, causal, reached):
    layer = MoE(TopK(), FourierExperts(4, 8), shared=DepthwiseConvFFN(5, causal=causal))
    other = x.copy()
    other[:, 3] += 1

    def changed(run) -> list[int]:
        difference = np.abs(array(run(x)) - array(run(other))).max(axis=(0, 2))
        return np.flatnonzero(difference > 1e-6).tolist()

    assert changed(layer) == reached
    assert changed(lambda x: layer(x) - layer.shared(x)) == [3]


def test_padding_is_zero_to_its_neighbours(x):
    layer = MoE(TopK(), FourierExperts(4, 8), shared=DepthwiseConvFFN(5))
    mask = np.broadcast_to(np.arange(7) < 4, (2, 7))
    padded = array(layer(x, mask=mask))
    np.testing.assert_allclose(padded[:, :4], array(layer(x[:, :4])), rtol=1e-4, atol=1e-5)


def test_without_a_gate_and_with_dropout_in_training_only(x):
    layer = DepthwiseConvFFN(50, gated=False, dropout=0.5, seed=1)
    still = array(layer(x))
    np.testing.assert_array_equal(still, array(layer(x)))
    assert (array(layer(x, training=True)) != still).any()
    assert len(layer.trainable_weights) == 3


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"`kernel_size` must be at least 1\. Received: 0"):
        DepthwiseConvFFN(5, kernel_size=0)
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\)\. Received: 1\.0"):
        DepthwiseConvFFN(5, dropout=1.0)
