from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import TENSORFLOW, array
from moe_apps.layers import CopyExperts, FFNExperts, MixedExperts, SwiGLUExperts
from moe_apps.layers.dispatch.extra_groups import ExtraGroups, run_with_extra_groups

FIRST = np.arange(12, dtype="float32").reshape(3, 2, 2) + 1  # (experts, rows, features)
EXTRA = np.arange(16, dtype="float32").reshape(4, 2, 2) - 5
IDS = np.array([0, 2, 2, 2], "int32")


def extra(rows, end=3):
    return ExtraGroups(rows, ops.convert_to_tensor(IDS), ops.zeros((), "int32"), ops.array(end))


def loss(first, rows, scale):
    outputs, further = run_with_extra_groups(lambda x, w: x * w, first, extra(rows), [scale])
    return ops.sum(ops.square(outputs)) + ops.sum(ops.square(further))


def gradients(*inputs):
    if not TENSORFLOW:
        import jax

        return jax.grad(loss, argnums=(0, 1, 2))(*inputs)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(*inputs)
    return tape.gradient(value, inputs)


def test_gradients_reach_the_rows_and_weights_of_the_groups_that_are_computed():
    scale = np.array([2.0, 3.0, 5.0], "float32").reshape(3, 1, 1)
    to_first, to_rows, to_scale = gradients(*map(ops.convert_to_tensor, (FIRST, EXTRA, scale)))
    np.testing.assert_allclose(array(to_first), 2 * FIRST * scale**2)
    used = np.array([1, 1, 1, 0], "float32")[:, None, None]  # the fourth group is not computed
    np.testing.assert_allclose(array(to_rows), 2 * used * EXTRA * scale[IDS] ** 2)
    squares = np.square(FIRST).sum((1, 2))
    squares += [np.square(EXTRA[0]).sum(), 0, np.square(EXTRA[1:3]).sum()]
    np.testing.assert_allclose(array(to_scale)[:, 0, 0], 2 * scale[:, 0, 0] * squares)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SwiGLUExperts(3, 4),
        lambda: MixedExperts([CopyExperts(1), FFNExperts(2, hidden_dim=4)]),
    ],
    ids=["swiglu", "mixed"],
)
def test_a_bank_serves_extra_groups_by_the_experts_named(make):
    keras.utils.set_random_seed(1)
    bank = make()
    outputs, further = bank(FIRST, extra=extra(EXTRA))
    np.testing.assert_allclose(array(outputs), array(bank(FIRST)), rtol=1e-5)
    expected = array(bank(EXTRA, expert_ids=IDS)).copy()
    expected[3] = 0
    np.testing.assert_allclose(array(further), expected, rtol=1e-5)
