from __future__ import annotations

import numpy as np
from keras import ops

from keras_modes import array
from moe_apps.layers import ConstantExperts, ConvExperts, CopyExperts, MixedExperts, ZeroExperts


def test_zero_gives_zero_and_copy_gives_its_input():
    rows = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    assert not array(ZeroExperts(2)(rows)).any()
    np.testing.assert_array_equal(array(CopyExperts(2)(rows)), rows)
    assert not ZeroExperts(2).weights and not CopyExperts(2).weights


def test_zero_and_copy_take_whole_examples_beside_convolutions():
    images = np.random.default_rng(0).normal(size=(3, 2, 5, 5, 4)).astype("float32")
    bank = MixedExperts([ConvExperts(1, 4), CopyExperts(1), ZeroExperts(1)])
    outputs = array(bank(images))
    assert outputs.shape == images.shape and outputs[0].any() and not outputs[2].any()
    np.testing.assert_array_equal(outputs[1], images[1])


def test_a_constant_expert_mixes_its_input_with_its_vector():
    bank = ConstantExperts(2)
    bank.build((None, None, 2))
    kernel, vector = np.zeros((2, 2, 2)), np.array([[[5.0, 7.0]], [[-1.0, 0.0]]])
    kernel[1, :, 1] = 50  # expert 1, of positive rows: a2 is 1
    bank.stacked_weights[0].assign(kernel), bank.stacked_weights[1].assign(vector)
    rows = ops.ones((2, 1, 2))
    # a is (1/2, 1/2) in expert 0, (0, 1) in expert 1
    np.testing.assert_allclose(array(bank(rows)), [[[3.0, 4.0]], [[-1.0, 0.0]]], atol=1e-6)


def test_constants_of_the_experts_differ_at_the_start():
    bank = ConstantExperts(3)
    bank.build((None, None, 200))
    vector = array(bank.stacked_weights[1].value)
    assert (vector[0] != vector[1]).all() and 0.8 < vector.std() < 1.2
