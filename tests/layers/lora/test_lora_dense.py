from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import LLaVAMoLE, MoELoRADense, TopK, mola_allocation


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(9, 6)).astype("float32")


def dense(activation: str | None = None) -> keras.layers.Dense:
    return keras.layers.Dense(4, activation, bias_initializer="glorot_uniform")


def draw(layer: MoELoRADense) -> None:
    b = layer.moe.experts.stacked_weights[1]
    b.assign(np.random.default_rng(1).normal(size=b.shape))


@pytest.mark.parametrize("router", [TopK(2), TopK(2, renormalize=True), LLaVAMoLE()], ids=str)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_at_first_it_is_the_frozen_layer_whatever_the_gates(rows, router, activation):
    base = dense(activation)
    layer = MoELoRADense(base, type(router).from_config(router.get_config()), rank=2)
    np.testing.assert_array_equal(array(layer(rows)), array(base(rows)))


def test_experts_are_added_before_the_activation(rows):
    base = dense("relu")
    layer = MoELoRADense(base, TopK(2, renormalize=True), num_experts=3, rank=2, alpha=4)
    layer.build(rows.shape)
    draw(layer)
    decision = layer.router(rows)
    weights = array(decision.weight_of_expert())
    a, b = (array(w) for w in layer.moe.experts.stacked_weights)
    update = np.einsum("ne,neo->no", weights, 2 * np.einsum("nd,edr,ero->neo", rows, a, b))
    expected = rows @ array(base.kernel) + array(base.bias) + update
    np.testing.assert_allclose(array(layer(rows)), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)
    assert (expected < 0).any()


def test_the_base_is_frozen_whatever_is_set_around_it(rows):
    base = dense()
    inputs = keras.Input((6,))
    model = keras.Model(inputs, MoELoRADense(base, TopK(2), rank=2)(inputs))
    for trainable in (None, False, True):
        if trainable is not None:
            model.trainable = trainable
        assert not base.trainable_weights and len(base.non_trainable_weights) == 2
    assert len(model.trainable_weights) == 3
    draw(model.layers[1])
    before = [array(w) for w in base.weights]
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1), "mse")
    model.fit(rows, np.ones((9, 4)), epochs=2, verbose=0)
    for weight, value in zip(base.weights, before, strict=True):
        np.testing.assert_array_equal(array(weight), value)


def test_the_frozen_weights_are_saved(rows, tmp_path):
    base = dense()
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(6)(inputs)
    model = keras.Model(inputs, MoELoRADense(base, TopK(2), rank=2)(hidden))
    draw(model.layers[2])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(again(rows)), array(model(rows)), rtol=1e-6)
    assert not again.layers[2].base.trainable_weights
    np.testing.assert_array_equal(array(again.layers[2].base.kernel), array(base.kernel))


def test_losses_and_gradients_of_the_router_pass_through(rows):
    layer = MoELoRADense(dense(), TopK(2, balance_loss_weight=0.1), rank=2, dropout=0.5)
    layer.build(rows.shape)
    draw(layer)
    result = step(layer, rows)
    assert result.losses > 0 and all(gradient.any() for gradient in result.gradients)
    still, again = (array(layer(rows)) for _ in range(2))  # no dropout at inference
    np.testing.assert_array_equal(still, again)
    assert np.abs(result.outputs - still).max() > 0.1


def test_only_a_dense_layer_can_be_the_base():
    with pytest.raises(ValueError, match=r"`base` must be a `keras\.layers\.Dense`\. Received: "):
        MoELoRADense(keras.layers.Dropout(0.1), TopK(2))


def test_allocation():
    allocation = mola_allocation(32)
    assert allocation == [2] * 8 + [4] * 8 + [6] * 8 + [8] * 8
    for layers in range(3, 11):
        uneven = mola_allocation(layers, (1, 2, 3))
        assert len(uneven) == layers and uneven == sorted(uneven) and set(uneven) == {1, 2, 3}
    with pytest.raises(ValueError, match="`num_layers` must be at least the number of groups, 4"):
        mola_allocation(3)
    with pytest.raises(ValueError, match="`experts` must be positive numbers"):
        mola_allocation(3, (1, 0))
