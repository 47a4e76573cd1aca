from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import CGC, PLE, Comet, DSelectK, HoME, MLPExperts, MMoE, TopK
from moe_apps.layers.multi_gate.gate import RouterGate

TASKS = ("click", "buy")


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(9, 6)).astype("float32")


def test_a_gate_has_the_routers_weights_where_it_sees_experts(rows):
    gate = RouterGate(TopK(k=2), num_experts=5, seen=[1, 3, 4])
    weights = array(gate(rows))
    decision = gate.router(rows)
    assert (weights[:, [0, 2]] == 0).all()
    expected = np.zeros((9, 3), "float32")
    np.put_along_axis(expected, array(decision.indices), array(decision.weights), axis=1)
    np.testing.assert_allclose(weights[:, [1, 3, 4]], expected, rtol=1e-6)


@pytest.mark.parametrize("router", [DSelectK(k=2), Comet(k=2)])
@pytest.mark.parametrize(
    "make",
    [
        lambda router: MMoE(TASKS, MLPExperts(4, units=(5,)), router=router),
        lambda router: CGC(TASKS, units=(5,), specific=1, shared=2, router=router),
        lambda router: PLE(TASKS, units=(5,), specific=1, shared=2, router=router),
        lambda router: HoME({"a": ["click"], "b": ["buy"]}, units=(5,), router=router),
    ],
)
def test_sparse_gates_on_every_layer_have_losses_of_their_own_and_survive_saving(
    make, router, rows, tmp_path
):
    inputs = keras.Input((6,))
    layer = make(router)
    model = keras.Model(inputs, layer(inputs))
    model(rows, training=True)
    routers = {layer.path for layer in model._flatten_layers() if layer.name == "router"}
    assert len(routers) >= len(TASKS) and len(model.losses) >= len(TASKS)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for task in TASKS:
        np.testing.assert_array_equal(array(model(rows)[task]), array(again(rows)[task]))


def test_a_router_and_gate_dropout_do_not_go_together():
    with pytest.raises(ValueError, match="dropout"):
        MMoE(TASKS, MLPExperts(4, units=(5,)), gate_dropout=0.5, router=DSelectK(k=2))
