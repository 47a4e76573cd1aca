from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import MLPExperts, MMoE, TaskExpertMemory

TASKS = ("depth", "edge")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")


def layer(tasks=TASKS, experts: int = 2) -> TaskExpertMemory:
    return TaskExpertMemory(tasks, MLPExperts(experts, units=(6,)))


def test_one_task_and_one_expert_is_that_expert(rows):
    one = layer(("only",), experts=1)
    outputs, memory = one(rows)
    expected = array(one.experts(rows.reshape(1, -1, 6))).reshape(rows.shape)
    np.testing.assert_allclose(array(outputs["only"]), expected, rtol=1e-6)
    np.testing.assert_array_equal(array(memory["only"]), array(outputs["only"]))


def test_without_memory_it_is_mmoe(rows):
    one, mmoe = layer(), MMoE(TASKS, MLPExperts(2, units=(6,)))
    flat = rows[:, 0]
    one.build(flat.shape), mmoe.build(flat.shape)
    for weight, value in zip(mmoe.experts.weights, one.experts.weights, strict=True):
        weight.assign(value)
    for number, task in enumerate(TASKS):
        mmoe.pool.gates[task].kernel.assign(array(one.gate)[number, :, :-1])
    outputs, _ = one(flat)
    for task in TASKS:
        np.testing.assert_allclose(array(outputs[task]), array(mmoe(flat)[task]), rtol=1e-5)


def test_memory_is_one_more_expert_and_moves_towards_the_output(rows):
    below, above = layer(), layer()
    _, memory = below(rows)
    outputs, updated, gates = above(rows, memory, return_gates=True)
    of_experts = array(above.experts(rows.reshape(1, -1, 6))).reshape(2, *rows.shape)
    for number, task in enumerate(TASKS):
        powers = np.exp(rows.mean(axis=1) @ array(above.gate)[number])
        weights = powers / powers.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(array(gates[task]), weights, rtol=1e-4)
        pool = [*of_experts, array(memory[task])]
        expected = sum(weights[:, e, None, None] * pool[e] for e in range(3))
        np.testing.assert_allclose(array(outputs[task]), expected, rtol=1e-4, atol=1e-6)
        # sigmoid(0) = 1/2 at first
        halfway = (array(memory[task]) + expected) / 2
        np.testing.assert_allclose(array(updated[task]), halfway, rtol=1e-4, atol=1e-6)


def test_memory_affects_its_own_task_only(rows):
    above = layer()
    memory = {task: rows for task in TASKS}
    one, two = above(rows, memory)[0], above(rows, {**memory, "edge": rows + 1})[0]
    np.testing.assert_array_equal(array(one["depth"]), array(two["depth"]))
    assert (array(one["edge"]) != array(two["edge"])).any()


def test_padding_does_not_enter_the_gates(rows):
    mask = np.arange(4) < np.array([[4], [2], [3]])
    one = layer()
    other = np.where(mask[..., None], rows, 30.0)
    first, second = (one(x, mask=mask)[0]["edge"] for x in (rows, other))
    np.testing.assert_allclose(array(first)[mask], array(second)[mask], rtol=1e-5)
    np.testing.assert_allclose(
        array(one(rows[1:2, :2])[0]["edge"])[0], array(first)[1, :2], rtol=1e-5
    )
