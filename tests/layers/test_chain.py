from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import ChainOfExperts, FFNExperts, MoE, RecurrentRouter, SwiGLU, TopK


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")


def chain(iterations: int, **settings) -> ChainOfExperts:
    routers = [TopK(k=2, balance_loss_weight=0.1) for _ in range(iterations)]
    layer = ChainOfExperts(routers, FFNExperts(4, 5), shared=SwiGLU(3), **settings)
    layer.build((None, None, 6))
    return layer


def test_one_iteration_is_norm_and_moe(x):
    layer = chain(1, norm=keras.layers.LayerNormalization())
    h = layer.norm(x)
    moe = MoE(layer.routers[0], layer.experts, shared=layer.shared)
    np.testing.assert_allclose(array(layer(x)), array(h + moe(h)), rtol=1e-5, atol=1e-6)


def test_iterations_follow_one_another(x):
    layer = chain(3)
    h = x
    for router in layer.routers:
        h = h + array(MoE(router, layer.experts, shared=layer.shared)(h))
    np.testing.assert_allclose(array(layer(x)), h, rtol=1e-4, atol=1e-5)


def test_residuals_are_chosen_one_by_one(x):
    layer = chain(2, inner_residual=False, norm=keras.layers.RMSNormalization())
    first, second = (MoE(r, layer.experts, shared=layer.shared) for r in layer.routers)
    plain = array(second(first(layer.norm(x))))
    np.testing.assert_allclose(array(layer(x)), plain, rtol=1e-4, atol=1e-5)
    layer.outer_residual = True
    np.testing.assert_allclose(array(layer(x)), x + plain, rtol=1e-4, atol=1e-5)


def test_an_iteration_more_costs_one_router_more():
    assert chain(3).count_params() - chain(1).count_params() == 2 * 6 * 4


def test_every_iteration_adds_its_loss_in_training(x):
    layer = chain(3)
    layer(x, training=True)
    assert len(layer.losses) == 3
    layer(x, training=False)
    assert len(layer.losses) == 0


def test_padding_meets_no_expert_in_any_iteration(x):
    layer = ChainOfExperts([TopK(k=1), TopK(k=1)], FFNExperts(4, 5))
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    outputs = array(layer(x, mask=mask))
    np.testing.assert_array_equal(outputs[1, 3:], x[1, 3:])
    np.testing.assert_allclose(outputs[0], array(layer(x))[0], rtol=1e-5, atol=1e-6)


def test_state_goes_from_iteration_to_iteration(x):
    cell = keras.layers.GRUCell(3, dtype="float32")
    layer = ChainOfExperts([RecurrentRouter(cell), RecurrentRouter(cell)], FFNExperts(4, 5))
    outputs, state = layer(x)
    h, r = layer.iterations[0](x)
    np.testing.assert_allclose(
        array(state), array(layer.iterations[1](x + h, state=r)[1]), rtol=1e-4, atol=1e-5
    )
    assert tuple(outputs.shape) == x.shape


def test_a_saved_chain_still_has_one_bank(x, tmp_path):
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, chain(2, name="chain")(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    first, second = again.get_layer("chain").iterations
    assert first.experts is second.experts and first.shared is second.shared
    assert again.count_params() == model.count_params()
    np.testing.assert_allclose(array(again(x)), array(model(x)), rtol=1e-6, atol=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`routers` must have one router for each iteration"):
        ChainOfExperts([], FFNExperts(4, 5))
    layer = ChainOfExperts([TopK(k=1)], FFNExperts(4, 5, output_dim=3))
    with pytest.raises(ValueError, match=r"`experts` must give as many features as they get, 6"):
        layer.build((None, 6))
