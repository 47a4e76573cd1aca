from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import CGC, PLE, MLPExperts, MMoE

TASKS = ("click", "buy")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 6)).astype("float32")


def test_without_experts_of_the_tasks_own_it_is_mmoe(rows):
    cgc = CGC(TASKS, units=(5, 4), specific=0, shared=3)
    mmoe = MMoE(TASKS, MLPExperts(3, units=(5, 4)))
    cgc.build(rows.shape), mmoe.build(rows.shape)
    assert [w.shape for w in cgc.weights] == [w.shape for w in mmoe.weights]
    mmoe.set_weights(cgc.get_weights())
    for task in TASKS:
        np.testing.assert_allclose(array(cgc(rows)[task]), array(mmoe(rows)[task]), rtol=1e-6)


def test_a_task_sees_its_own_experts_and_the_shared(rows):
    layer = CGC(TASKS, units=(4,), specific=2, shared=1, shared_gate=True)
    outputs, gates = layer(rows, return_gates=True)
    names = layer.pool.expert_names
    assert names == ["click_0", "click_1", "buy_0", "buy_1", "shared_0"]
    seen = {name: (array(weights) > 0).all(axis=0) for name, weights in gates.items()}
    np.testing.assert_array_equal(seen["click"], [True, True, False, False, True])
    np.testing.assert_array_equal(seen["buy"], [False, False, True, True, True])
    assert seen["shared"].all() and list(outputs) == ["click", "buy", "shared"]
    for weights in gates.values():
        np.testing.assert_allclose(array(weights).sum(axis=-1), 1, rtol=1e-5)


def test_sets_and_gates_read_the_input_of_their_task(rows):
    layer = CGC(TASKS, units=(4,), shared_gate=True)
    inputs = {"click": rows, "buy": rows + 1, "shared": rows - 1}
    before = {name: array(y) for name, y in layer(inputs).items()}
    after = {name: array(y) for name, y in layer({**inputs, "buy": rows + 2}).items()}
    np.testing.assert_array_equal(before["click"], after["click"])
    assert (before["buy"] != after["buy"]).any() and (before["shared"] != after["shared"]).any()


def test_the_shared_gate_reads_the_shared_input(rows):
    layer = CGC(TASKS, units=(4,), shared_gate=True)
    inputs = {"click": rows, "buy": rows, "shared": rows}
    _, one = layer(inputs, return_gates=True)
    _, two = layer({**inputs, "shared": rows + 1}, return_gates=True)
    assert (array(one["shared"]) != array(two["shared"])).any()
    np.testing.assert_array_equal(array(one["click"]), array(two["click"]))


def test_ple_is_a_chain_of_cgc(rows):
    layer = PLE(TASKS, units=(4,), specific=1, shared=2, levels=3)
    outputs, gates = layer(rows, return_gates=True)
    x = rows
    for level, extraction in enumerate(layer.extractions):
        x, expected = extraction(x, return_gates=True)
        assert ("shared" in x) == (level < 2)
        for name, weights in expected.items():
            np.testing.assert_allclose(array(gates[level][name]), array(weights), rtol=1e-6)
    assert list(outputs) == list(TASKS)
    np.testing.assert_allclose(array(outputs["buy"]), array(x["buy"]), rtol=1e-6)
    # Above the first level a gate reads the mixture of the level below, and not the input.
    shapes = [tuple(e.pool.gates["buy"].kernel.shape) for e in layer.extractions]
    assert shapes == [(6, 3), (4, 3), (4, 3)]


def test_one_level_is_cgc(rows):
    ple, cgc = PLE(TASKS, units=(4,), levels=1), CGC(TASKS, units=(4,))
    ple.build(rows.shape), cgc.build(rows.shape)
    cgc.set_weights(ple.get_weights())
    np.testing.assert_array_equal(array(ple(rows)["buy"]), array(cgc(rows)["buy"]))


def test_inputs_by_task_serve_a_model(rows, tmp_path):
    inputs = {name: keras.Input((6,), name=name) for name in (*TASKS, "shared")}
    model = keras.Model(inputs, PLE(TASKS, units=(4,), gate_dropout=0.1, seed=1)(inputs))
    given = {"click": rows, "buy": rows + 1, "shared": rows - 1}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(again(given)["buy"]), array(model(given)["buy"]), rtol=1e-6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"specific": -1}, r"`specific` must be at least 0\. Received: -1"),
        ({"shared": 0}, r"`shared` must be at least 1\. Received: 0"),
        ({"levels": 0}, r"`levels` must be at least 1\. Received: 0"),
        ({"units": ()}, r"`units` must name at least one width, all positive\. Received: \(\)"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PLE(**{"tasks": TASKS, "units": (4,), **settings})
