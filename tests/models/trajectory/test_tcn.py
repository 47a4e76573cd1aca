from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_modes import array
from moe_apps.layers.addons import WeightNormalization
from moe_apps.models.trajectory.tcn import TCN, TemporalBlock, levels_for, receptive_field


@pytest.mark.parametrize(("levels", "field"), [(4, 61), (5, 125), (6, 253)])
def test_receptive_fields_of_the_reference(levels, field):
    assert receptive_field(levels, kernel_size=3) == field


@given(st.integers(1, 500), st.integers(2, 8))
def test_levels_are_the_fewest_that_see_all(steps, kernel_size):
    levels = levels_for(steps, kernel_size)
    assert receptive_field(levels, kernel_size) >= steps
    assert levels == 1 or receptive_field(levels - 1, kernel_size) < steps


def test_too_few_levels_are_refused_with_what_is_needed():
    with pytest.raises(ValueError, match=r"look 29 steps back, the history has 30; .* at least 4"):
        TCN(4, levels=3).build((None, 30, 2))


def test_it_is_causal_and_sees_exactly_its_receptive_field():
    network = TCN(5, levels=2, kernel_size=2, dropout=0.0)  # sees 7 steps
    x = np.random.default_rng(0).normal(size=(1, 7, 3)).astype("float32")
    network.build((None, 7, 3))
    for convolution in [c for block in network.blocks for c in block.convolutions]:
        kernel = convolution.layer.kernel  # all positive: nothing is cut off by a ReLU
        kernel.assign(ops.abs(kernel))
    base = array(network(np.abs(x)))
    for step in range(7):
        changed = np.abs(x)
        changed[0, step] += 1.0
        differs = np.abs(array(network(changed)) - base).max(axis=-1)[0] > 1e-6
        assert not differs[:step].any()
        assert differs[step] and differs[-1]


def test_a_block_is_two_convolutions_beside_a_shortcut():
    block = TemporalBlock(4, kernel_size=2, dilation=3, dropout=0.0)
    x = np.random.default_rng(0).normal(size=(2, 9, 4)).astype("float32")
    y = array(block(x))
    expected = x
    for wrapped in block.convolutions:
        assert isinstance(wrapped, WeightNormalization)
        v, g, bias = array(wrapped.v), array(wrapped.g), array(wrapped.layer.bias)
        kernel = g * v / np.sqrt(np.square(v).sum(axis=(0, 1)))
        padded = np.pad(expected, ((0, 0), (3, 0), (0, 0)))
        expected = np.maximum(padded[:, :-3] @ kernel[0] + padded[:, 3:] @ kernel[1] + bias, 0)
    np.testing.assert_allclose(y, expected + x, atol=1e-5)
    assert block.shortcut is None


def test_dropout_works_in_training_only():
    block = TemporalBlock(8, dropout=0.5, seed=3)
    x = keras.random.normal((2, 6, 3), seed=0)
    still, moving = array(block(x, training=False)), array(block(x, training=True))
    np.testing.assert_array_equal(still, array(block(x, training=False)))
    assert np.abs(still - moving).max() > 1e-3


@pytest.mark.parametrize("steps", [5, 16, 29])
def test_the_last_step_alone_is_that_of_the_whole(steps):
    x = np.random.default_rng(0).normal(size=(2, steps, 3)).astype("float32")
    whole, pruned = (TCN(4, levels=3, dropout=0.0, last_only=last) for last in (False, True))
    whole.build(x.shape)
    pruned.build(x.shape)
    pruned.set_weights(whole.get_weights())
    np.testing.assert_allclose(array(pruned(x)), array(whole(x))[:, -1:], atol=1e-5)
