from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import (
    FFNExperts,
    MoE,
    SwiGLU,
    SwiGLUExperts,
    TopK,
    merge_slices,
    order_by_similarity,
    split_dense,
    upcycle_dense,
)

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 5, 6)).astype("float32")


def network(kind: str):
    """A trained-looking network of six features and twelve hidden units."""
    if kind == "swiglu":
        ffn = SwiGLU(12)
        ffn.build((None, 6))
    else:
        use_bias = kind == "dense"
        ffn = keras.Sequential(
            [
                keras.Input((None, 6)),
                keras.layers.Dense(12, "tanh", use_bias=use_bias),
                keras.layers.Dense(4, use_bias=use_bias),
            ]
        )
    draw = np.random.default_rng(2).normal
    ffn.set_weights([draw(size=weight.shape) for weight in ffn.get_weights()])
    return ffn


KINDS = pytest.mark.parametrize("kind", ["swiglu", "dense", "without bias"])


def close(one, two) -> None:
    np.testing.assert_allclose(array(one), array(two), rtol=1e-4, atol=1e-4)


@KINDS
@pytest.mark.parametrize("dispatch", ["dropless", "dense"])
def test_upcycled_with_weights_that_sum_to_one_is_the_network(kind, dispatch, x):
    ffn = network(kind)
    bank = upcycle_dense(ffn, 4)
    assert isinstance(bank, SwiGLUExperts if kind == "swiglu" else FFNExperts)
    close(MoE(TopK(k=2, renormalize=True), bank, dispatch=dispatch)(x), ffn(x))


def test_upcycled_with_raw_softmax_weights_is_not(x):
    ffn = network("dense")
    layer = MoE(TopK(k=2), upcycle_dense(ffn, 4))
    outputs, routing = layer(x, return_routing=True)
    total = array(routing["weights"]).sum(axis=-1, keepdims=True)
    assert total.max() < 0.99
    close(outputs, total * array(ffn(x)))
    assert np.abs(array(outputs) - array(ffn(x))).max() > 0.05


@KINDS
@pytest.mark.parametrize("order", [None, np.random.default_rng(3).permutation(12)], ids=repr)
def test_all_slices_together_are_the_network(kind, order, x):
    ffn = network(kind)
    bank = split_dense(ffn, 4, order=order)
    close(keras.ops.sum(bank(x.reshape(1, 10, 6)), axis=0), array(ffn(x)).reshape(10, -1))
    assert sum(w.size for w in bank.get_weights()) == sum(
        w.size * (4 if w.shape == (4,) else 1) for w in ffn.get_weights()
    )  # no weight more, but for the output bias, which each expert has a share of


def test_experts_get_the_units_in_the_order_given():
    ffn = network("without bias")
    order = np.random.default_rng(3).permutation(12)
    first, second = split_dense(ffn, 4, order=order).get_weights()
    np.testing.assert_array_equal(first[1], ffn.get_weights()[0][:, order[3:6]])
    np.testing.assert_array_equal(second[1], ffn.get_weights()[1][order[3:6]])


def test_the_output_bias_is_shared_by_the_active_experts(x):
    ffn = network("dense")
    bank = split_dense(ffn, 4, k=2)
    np.testing.assert_allclose(
        array(bank.stacked_weights[3]), np.tile(ffn.get_weights()[3] / 2, (4, 1, 1)), rtol=1e-6
    )


@KINDS
def test_slices_go_back_to_the_network(kind, x):
    ffn, again = network(kind), network(kind)
    order = order_by_similarity(ffn, 3)
    again.set_weights(merge_slices(split_dense(ffn, 3, k=2, order=order), k=2))
    close(again(x), ffn(x))


def test_units_with_like_inputs_come_together():
    centres = np.eye(6)[:3]
    members = np.random.default_rng(4).permutation(np.repeat([0, 1, 2], 4))
    ffn = network("dense")
    kernel = centres[members].T + 0.05 * np.random.default_rng(5).normal(size=(6, 12))
    ffn.layers[0].kernel.assign(kernel * np.linspace(0.5, 3, 12))  # length does not matter
    order = order_by_similarity(ffn, 3, seed=1)
    assert sorted(order) == list(range(12))
    groups = members[order].reshape(3, 4)
    assert (groups == groups[:, :1]).all()
    np.testing.assert_array_equal(order, order_by_similarity(ffn, 3, seed=1))


def test_groups_are_of_equal_size_when_clusters_are_not():
    ffn = network("dense")
    kernel = np.zeros((6, 12))
    kernel[0, :10] = kernel[1, 10:] = 1  # ten units alike, two others
    ffn.layers[0].kernel.assign(kernel + 1e-3)
    bank = split_dense(ffn, 3, order=order_by_similarity(ffn, 3))
    assert bank.hidden_dim == 4


def test_what_cannot_be_converted_is_named():
    ffn = network("dense")
    with pytest.raises(ValueError, match=r"`num_experts` must divide the hidden width 12.*: 5"):
        split_dense(ffn, 5)
    with pytest.raises(ValueError, match=r"`num_experts` must divide the hidden width 12.*: 0"):
        order_by_similarity(ffn, 0)
    with pytest.raises(ValueError, match="`order` must name each of the 12 hidden units once"):
        split_dense(ffn, 4, order=[0] * 12)
    with pytest.raises(ValueError, match="output gate"):
        upcycle_dense(SwiGLU(5, gated=True), 2)
    with pytest.raises(ValueError, match="the second without an activation"):
        upcycle_dense([keras.layers.Dense(5), keras.layers.Dense(5, "relu")], 2)
