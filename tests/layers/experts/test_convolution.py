from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import ConvExperts

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.mark.parametrize(
    "shape, size", [((5, 6), 3), ((5, 6), 2), ((5, 4, 6), 3), ((5, 4, 6), (1, 4))], ids=str
)
def test_each_expert_is_two_convolutions_of_keras(shape, size):
    rows = np.random.default_rng(1).normal(size=(3, 2, *shape)).astype("float32")
    bank = ConvExperts(3, 4, output_dim=7, kernel_size=size, activation="tanh")
    bank.build(rows.shape)
    draw = np.random.default_rng(2).normal
    bank.set_weights([draw(size=weight.shape) for weight in bank.get_weights()])
    outputs = array(bank(rows))
    convolution = keras.layers.Conv1D if len(shape) == 2 else keras.layers.Conv2D
    for expert, own in enumerate(rows):
        kernel_1, bias_1, kernel_2, bias_2 = (w[expert] for w in bank.get_weights())
        first = convolution(4, size, padding="same", activation="tanh")
        second = convolution(7, size, padding="same")
        expected = second(first(own))
        first.set_weights([kernel_1, bias_1[0]])
        second.set_weights([kernel_2, bias_2[0]])
        expected = second(first(own))
        np.testing.assert_allclose(outputs[expert], array(expected), rtol=1e-4, atol=1e-4)


def test_images_in_all_call_forms():
    rows = np.random.default_rng(1).normal(size=(3, 2, 4, 5, 6)).astype("float32")
    bank = ConvExperts(3, 4)
    stacked = array(bank(rows))
    cut = bank([rows[0], rows[1], rows[2][:1]])
    for one, two in zip(cut, stacked, strict=True):
        np.testing.assert_allclose(array(one), two[: one.shape[0]], rtol=1e-5, atol=1e-5)
    by_id = array(bank(rows[[1, 1, 2]], expert_ids=np.array([1, 1, 2], "int32")))
    np.testing.assert_allclose(by_id, stacked[[1, 1, 2]], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(bank(rows[:1]))[0], stacked[0], rtol=1e-5, atol=1e-5)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"`kernel_size` must be at least 1\. Received: 0"):
        ConvExperts(3, 4, kernel_size=0)
    with pytest.raises(ValueError, match=r"`kernel_size` must have 1 values\. Received: \(3, 3\)"):
        ConvExperts(3, 4, kernel_size=(3, 3)).build((None, None, 5, 6))
    with pytest.raises(ValueError, match='use level="sample"'):
        ConvExperts(3, 4).build((None, None, 6))
