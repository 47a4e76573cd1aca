"""Routing of whole examples: what each expert gets is the example with all its positions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from keras_modes import QUICKEST, TENSORFLOW, array, assert_same_step, in_mode, step
from moe_apps.layers import Capacity, ConvExperts, Dropless, FFNExperts, MoE, SwiGLU, TopK

DISPATCHES = {
    "dense": "dense",
    "capacity": Capacity(4.0, 4.0),
    "blocks": Dropless("blocks", block_size=2),
    **({"slices": Dropless("slices")} if TENSORFLOW else {}),
}
SHAPES = {"sequences": (5, 4, 3), "images": (5, 4, 6, 3)}
glorot = keras.initializers.GlorotUniform


def make(dispatch: Any = "dropless", **settings: Any) -> MoE:
    """Three experts with seven channels for each output, kernels of 3 (by 2, for images)."""
    rank = settings.pop("rank", 1)
    return MoE(
        TopK(k=2, balance_loss_weight=0.1, kernel_initializer=glorot(1)),
        ConvExperts(3, 4, 7, kernel_size=(3, 2)[:rank], kernel_initializer=glorot(2)),
        dispatch=dispatch,
        level="sample",
        name="moe",
        **settings,
    )


def examples(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """One example `(*positions, channels)` with `(*extent, channels, out)`, zeros around it."""
    extent = kernel.shape[:-2]
    around = [((size - 1) // 2, size // 2) for size in extent]
    windows = sliding_window_view(np.pad(x, [*around, (0, 0)]), extent, axis=range(len(extent)))
    windows = np.moveaxis(windows, len(extent), -1)  # (*positions, *extent, channels)
    axes = len(extent) + 1
    return np.tensordot(windows, kernel, (range(-axes, 0), range(axes)))


def by_hand(layer: MoE, x: np.ndarray) -> np.ndarray:
    """Each example through each of its two experts, one after the other."""
    kernel_1, bias_1, kernel_2, bias_2 = (array(w) for w in layer.experts.stacked_weights)
    outputs = []
    for example in x:
        logits = example.mean(axis=tuple(range(example.ndim - 1))) @ array(layer.router.kernel)
        probabilities = np.exp(logits) / np.exp(logits).sum()
        outputs.append(0)
        for e in np.argsort(-logits)[:2]:
            hidden = np.maximum(convolve(example, kernel_1[e]) + bias_1[e], 0)
            outputs[-1] += probabilities[e] * (convolve(hidden, kernel_2[e]) + bias_2[e])
    return np.stack(outputs)


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("kind", SHAPES)
def test_every_example_goes_whole_through_its_experts(kind, dispatch):
    x = examples(SHAPES[kind])
    layer = make(DISPATCHES[dispatch], rank=x.ndim - 2)
    layer.build(x.shape)
    outputs = in_mode(layer, QUICKEST)(x)
    assert outputs.shape == (*x.shape[:-1], 7)
    np.testing.assert_allclose(outputs, by_hand(layer, x), rtol=1e-4, atol=1e-5)


def test_compiled_it_is_the_same(mode):
    x = examples(SHAPES["images"])
    layer = make(rank=2)
    layer.build(x.shape)
    outputs = in_mode(layer, mode)(x)
    np.testing.assert_allclose(outputs, by_hand(layer, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dispatch", [name for name in DISPATCHES if name != "dense"])
def test_gradients_are_those_of_the_dense_dispatch(dispatch):
    x = examples(SHAPES["sequences"])
    one, two = step(make(DISPATCHES[dispatch]), x), step(make("dense"), x)
    assert two.losses > 0
    assert all(gradient.any() for gradient in two.gradients)
    assert_same_step(one, two, 1e-5)


def test_routing_is_one_row_an_example():
    x = examples(SHAPES["images"])
    outputs, routing = make(rank=2)(x, return_routing=True)
    assert tuple(outputs.shape) == (5, 4, 6, 7)
    for name in ("weights", "probabilities"):
        assert tuple(routing[name].shape) == (5, 3)
    np.testing.assert_array_equal((array(routing["weights"]) > 0).sum(axis=-1), 2)


def test_masked_examples_get_the_shared_layer_only_and_enter_no_loss():
    x = examples((5, 4, 7))
    shared = SwiGLU(2, name="shared")
    layer = make(shared=shared)
    mask = np.array([True, True, True, False, False])
    padded, alone = step(layer, x, mask=mask), step(layer, x[:3])
    np.testing.assert_allclose(padded.outputs[:3], alone.outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded.outputs[3:], array(shared(x[3:])), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded.losses, alone.losses, rtol=1e-5)


def test_what_cannot_be_routed_whole_is_refused():
    with pytest.raises(ValueError, match=r"must be known\. Received: \(None, None, 6\)"):
        make().build((None, None, 6))
    with pytest.raises(ValueError, match="FFNExperts take single tokens"):
        MoE(TopK(), FFNExperts(3, 4), level="sample").build((None, 5, 6))
    with pytest.raises(ValueError, match='use level="sample"'):
        MoE(TopK(), ConvExperts(3, 4)).build((None, 5, 6))
    with pytest.raises(ValueError, match=r"`mask` must be `\(batch,\)`"):
        make()(examples(SHAPES["sequences"]), mask=np.ones((5, 4), "bool"))
    with pytest.raises(ValueError, match='`level` must be "token" or "sample"'):
        MoE(TopK(), ConvExperts(3, 4), level="image")
