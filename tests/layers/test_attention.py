from __future__ import annotations

import numpy as np
import pytest

from keras_modes import in_mode
from moe_apps.layers.attention import RotarySelfAttention, rotate


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 7, 8)).astype("float32")


def attend(layer: RotarySelfAttention, x: np.ndarray) -> np.ndarray:
    """Causal attention by its formula, head by head, rotations as complex numbers."""
    query_kernel, query_bias, key_kernel, key_bias, value_kernel, value_bias, output = (
        np.asarray(weight, "float64") for weight in layer.get_weights()
    )
    time, features = x.shape[1:]
    width = features // layer.num_heads
    frequencies = 10000.0 ** (-2 * np.arange(width // 2) / width)
    turn = np.exp(1j * np.arange(time)[:, None] * frequencies)
    attended = np.zeros(x.shape)
    for head in range(layer.num_heads):
        own = slice(head * width, (head + 1) * width)

        def turned(kernel, bias, own=own):
            projected = (x @ kernel + bias)[..., own]
            return (projected[..., : width // 2] + 1j * projected[..., width // 2 :]) * turn

        scores = turned(query_kernel, query_bias) @ turned(key_kernel, key_bias).conj().swapaxes(
            1, 2
        )
        scores = np.where(np.tri(time, dtype=bool), scores.real / np.sqrt(width), -np.inf)
        powers = np.exp(scores)
        weights = powers / powers.sum(axis=-1, keepdims=True)
        attended[..., own] = weights @ (x @ value_kernel + value_bias)[..., own]
    return attended @ output


def test_it_is_the_formula(x, mode):
    layer = RotarySelfAttention(num_heads=2)
    layer.build(x.shape)
    draw = np.random.default_rng(2).normal
    layer.set_weights([0.5 * draw(size=weight.shape) for weight in layer.get_weights()])
    np.testing.assert_allclose(in_mode(layer, mode)(x), attend(layer, x), rtol=1e-4, atol=1e-5)


def test_a_later_value_changes_no_earlier_output(x):
    layer = RotarySelfAttention(num_heads=2)
    changed = x.copy()
    changed[:, 4:] += 10
    before, after = np.asarray(layer(x)), np.asarray(layer(changed))
    np.testing.assert_allclose(after[:, :4], before[:, :4], rtol=1e-5, atol=1e-6)
    assert (after[:, 4:] != before[:, 4:]).any()
    free = RotarySelfAttention(num_heads=2, causal=False)
    assert np.abs(np.asarray(free(x)) - np.asarray(free(changed)))[:, :4].max() > 1e-3


def test_padding_on_the_left_changes_nothing(x):
    layer = RotarySelfAttention(num_heads=2)
    padded = np.concatenate([np.full((2, 3, 8), 9.0, "float32"), x], axis=1)
    mask = np.arange(10) >= 3
    outputs = layer(padded, padding_mask=np.broadcast_to(mask, (2, 10)))
    np.testing.assert_allclose(np.asarray(outputs)[:, 3:], layer(x), rtol=1e-4, atol=1e-5)


def test_rotation_keeps_lengths_and_counts_distance_only(x):
    heads = x.reshape(2, 7, 2, 4)
    turned = np.asarray(rotate(heads))
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=-1), np.linalg.norm(heads, axis=-1), rtol=1e-5
    )
    same = np.asarray(rotate(np.broadcast_to(heads[:, :1], heads.shape)))
    products = np.einsum("btnh,bsnh->bnts", same, same)
    np.testing.assert_allclose(products[..., 0, 2], products[..., 4, 6], rtol=1e-4, atol=1e-5)


def test_features_must_split_into_heads_of_even_width(x):
    with pytest.raises(ValueError, match="8 features cannot be split into 3 heads"):
        RotarySelfAttention(num_heads=3)(x)


def test_round_trip():
    layer = RotarySelfAttention(num_heads=2, causal=False, kernel_initializer="he_normal")
    again = RotarySelfAttention.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
