from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MoE, RecurrentRouter


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(2, 5, 6)).astype("float32")


def stack(depth: int, units: int = 3) -> keras.Model:
    cell = keras.layers.GRUCell(units, dtype="float32")
    inputs = keras.Input((None, 6))
    hidden, state = inputs, None
    for number in range(depth):
        moe = MoE(RecurrentRouter(cell, k=1), FFNExperts(4, 5), name=f"moe_{number}")
        hidden, state = moe(hidden, state=state)
    return keras.Model(inputs, [hidden, state])


def test_logits_come_from_the_state_and_the_state_from_the_cell(x):
    router = RecurrentRouter(keras.layers.GRUCell(3, dtype="float32"), num_experts=4)
    below = np.random.default_rng(4).normal(size=(2, 5, 3)).astype("float32")
    decision = router(x, state=below)
    projected = (x @ array(router.input_kernel)).reshape(10, 3)
    expected = array(router.cell(projected, [below.reshape(10, 3)])[0])
    np.testing.assert_allclose(array(decision.state).reshape(10, 3), expected, rtol=1e-5, atol=1e-6)
    best = np.argsort(-(expected @ array(router.kernel)))[:, :2]
    np.testing.assert_array_equal(array(decision.indices), best)
    np.testing.assert_allclose(array(decision.weights).sum(axis=-1), 1, rtol=1e-5)
    zeros = array(router(x, state=np.zeros_like(below)).state)
    np.testing.assert_array_equal(array(router(x).state), zeros)


def test_with_a_shut_update_gate_routing_repeats(x):
    router = RecurrentRouter(keras.layers.GRUCell(3, dtype="float32"), num_experts=4)
    below = np.random.default_rng(4).normal(size=(2, 5, 3)).astype("float32")
    router(x)
    bias = array(router.cell.bias).copy()
    bias[..., :3] = 50  # update gate z = 1: state = z state + (1 - z) candidate
    router.cell.bias.assign(bias)
    np.testing.assert_allclose(array(router(x, state=below).state), below, rtol=1e-5)


def test_tokens_are_routed_by_themselves(x):
    router = RecurrentRouter(keras.layers.GRUCell(3, dtype="float32"), num_experts=4)
    order = np.array([3, 0, 4, 1, 2])
    one, two = array(router(x).state), array(router(x[:, order]).state)
    np.testing.assert_allclose(one[:, order], two, rtol=1e-5, atol=1e-6)


def test_the_cell_counts_once_however_many_layers():
    def count(depth: int) -> int:
        return stack(depth).count_params()

    own = 6 * 3 + 3 * 4 + 4 * (6 * 5 + 5 + 5 * 6 + 6)  # W1, W2 and the experts of a layer
    cell = 3 * (3 * 3 + 3 * 3 + 2 * 3)
    assert [count(1), count(3)] == [own + cell, 3 * own + cell]


def test_the_gradient_flows_through_the_layers_below(x):
    model = stack(2)
    first, second = (model.get_layer(f"moe_{number}") for number in range(2))
    # Cut the way over the experts, so that only the state joins the layers:
    # without it the gradient is exactly zero.
    for weight in first.experts.stacked_weights:
        weight.assign(np.zeros(weight.shape))
    result = step(model, x)
    gradients = dict(
        zip((v.path for v in model.trainable_variables), result.gradients, strict=True)
    )
    assert np.abs(gradients[first.router.input_kernel.path]).max() > 0
    assert np.abs(gradients[second.router.kernel.path]).max() > 0


def test_a_saved_model_still_shares_the_cell(x, tmp_path):
    model = stack(3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    cells = {id(again.get_layer(f"moe_{number}").router.cell) for number in range(3)}
    assert len(cells) == 1 and again.count_params() == model.count_params()
    np.testing.assert_allclose(array(again(x)[0]), array(model(x)[0]), rtol=1e-6)


def test_the_cell_must_be_float32():
    with pytest.raises(ValueError, match=r"`cell` must be made with dtype=\"float32\""):
        RecurrentRouter(keras.layers.GRUCell(3, dtype="bfloat16"))
