from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array, in_mode
from moe_apps.layers.routing.losses import balance_loss, expert_load, masked_mean, z_loss

MASK = np.array([True, True, False, True])


def balance(indices: np.ndarray, probabilities: np.ndarray, mask: np.ndarray | None = None):
    weights = np.ones(indices.shape) if mask is None else np.repeat(mask[:, None], 2, axis=1)
    load = expert_load(indices, ops.cast(weights, "float32"), probabilities.shape[-1])
    return float(balance_loss(load, ops.cast(probabilities, "float32"), mask))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_balance_is_one_at_uniform_routing_whatever_k(k):
    indices = (np.arange(8)[:, None] + np.arange(k)) % 8
    np.testing.assert_allclose(balance(indices, np.full((8, 8), 1 / 8)), 1, rtol=1e-6)


def test_balance_is_the_number_of_experts_at_collapse():
    assert balance(np.full((6, 1), 2), np.eye(4)[[2] * 6]) == 4


def test_balance_may_fall_below_one():
    """60 of 100 tokens go to an expert whose mean probability is the smaller one."""
    indices = (np.arange(100) >= 60).astype("int32")[:, None]
    probabilities = np.where(indices, [[0.02, 0.98]], [[0.51, 0.49]])
    assert balance(indices, probabilities) < 1


def test_padding_enters_neither_load_nor_probabilities():
    indices, probabilities = np.array([[0, 1], [1, 2], [2, 0], [0, 1]]), np.eye(3)[[0, 1, 2, 0]]
    real = balance(indices[MASK], probabilities[MASK])
    assert balance(indices, probabilities, MASK) == pytest.approx(real)


def test_gradient_flows_through_probabilities_only():
    load = ops.convert_to_tensor([0.75, 0.25])
    probabilities = ops.convert_to_tensor([[0.6, 0.4], [0.2, 0.8]])
    if load.__class__.__module__.startswith("tensorflow"):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch([load, probabilities])
            value = balance_loss(load, probabilities)
        gradients = tape.gradient(
            value, [load, probabilities], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
    else:
        import jax

        gradients = jax.grad(balance_loss, argnums=(0, 1))(load, probabilities)
    assert not array(gradients[0]).any()
    np.testing.assert_allclose(gradients[1], [[0.75, 0.25]] * 2)


def test_z_loss_of_equal_logits():
    for experts in (2, 5):
        value = float(z_loss(ops.zeros((7, experts))))
        np.testing.assert_allclose(value, np.log(experts) ** 2, rtol=1e-6)


def test_z_loss_leaves_padding_out(mode):
    logits = np.array([[1.0, 2.0], [0.0, 1.0], [90.0, 9.0], [3.0, 0.0]], "float32")
    expected = np.mean(np.log(np.exp(logits[MASK]).sum(axis=-1)) ** 2)
    np.testing.assert_allclose(in_mode(z_loss, mode)(logits, MASK), expected, rtol=1e-5)


def test_masked_mean_of_nothing_is_zero():
    assert float(masked_mean(ops.ones((3,)), ops.zeros((3,), "bool"))) == 0
