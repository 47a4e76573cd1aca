from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import MLPExperts, MMoE

TASKS = ("click", "buy", "share")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 6)).astype("float32")


def test_each_task_mixes_the_same_experts_by_its_own_gate(rows):
    layer = MMoE(TASKS, MLPExperts(3, units=(5, 4)))
    outputs, gates = layer(rows, return_gates=True)
    assert list(outputs) == list(TASKS)
    kernel_0, bias_0, kernel_1, bias_1 = (array(w) for w in layer.experts.weights)
    hidden = np.maximum(np.einsum("nd,edh->enh", rows, kernel_0) + bias_0, 0)
    of_experts = np.maximum(hidden @ kernel_1 + bias_1, 0)
    for task in TASKS:
        powers = np.exp(rows @ array(layer.pool.gates[task].kernel))
        weights = powers / powers.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(array(gates[task]), weights, rtol=1e-5)
        expected = np.einsum("ne,eno->no", weights, of_experts)
        np.testing.assert_allclose(array(outputs[task]), expected, rtol=1e-4, atol=1e-6)


def test_any_leading_shape_will_do(rows):
    layer = MMoE(TASKS, MLPExperts(3, units=(4,)))
    deep = array(layer(rows.reshape(1, 7, 1, 6))["buy"])
    assert deep.shape == (1, 7, 1, 4)
    np.testing.assert_allclose(deep.reshape(7, 4), array(layer(rows)["buy"]), rtol=1e-6)


def test_the_kernel_count_is_that_of_the_paper():
    """Its synthetic experiment: 100 features, 8 experts of 16, two towers of 8 and 1."""
    layer = MMoE(("one", "two"), MLPExperts(8, units=(16,)))
    layer.build((None, 100))
    kernels = sum(w.shape[1] * w.shape[2] * 8 for w in layer.experts.weights if "kernel" in w.path)
    towers = 2 * (16 * 8)
    assert kernels + towers == 13_056
    assert sum(np.prod(gate.kernel.shape) for gate in layer.pool.gates.values()) == 2 * 100 * 8


def test_all_weights_are_trained(rows):
    layer = MMoE(TASKS, MLPExperts(3, units=(5,), activation="tanh", output_activation="tanh"))
    result = step(layer, rows)
    assert len(result.gradients) == 2 + 3
    assert all(gradient.any() for gradient in result.gradients)


def test_gate_dropout_is_drawn_for_each_task(rows):
    layer = MMoE(("a", "b"), MLPExperts(4, units=(5,)), gate_dropout=0.5, seed=1)
    _, gates = layer(np.tile(rows, (9, 1)), return_gates=True, training=True)
    dropped = [array(gates[task]) == 0 for task in "ab"]
    assert dropped[0].any() and dropped[1].any() and (dropped[0] != dropped[1]).any()


def test_a_model_with_named_outputs_trains(rows):
    inputs = keras.Input((6,))
    hidden = MMoE(("a", "b"), MLPExperts(2, units=(4,)))(inputs)
    model = keras.Model(inputs, {t: keras.layers.Dense(1, name=t)(y) for t, y in hidden.items()})
    model.compile("sgd", loss={"a": "mse", "b": "mse"})
    targets = {"a": rows[:, :1], "b": rows[:, 1:2]}
    history = model.fit(rows, targets, epochs=2, verbose=0).history["loss"]
    assert history[1] < history[0]


@pytest.mark.parametrize("tasks", [(), ("a", "a"), ("shared", "a"), "ab"])
def test_bad_tasks_are_named(tasks):
    with pytest.raises(ValueError, match="`tasks` must be distinct names, at least one"):
        MMoE(tasks, MLPExperts(2, units=(4,)))
