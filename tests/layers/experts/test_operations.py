from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve

from keras_modes import TENSORFLOW, array
from moe_apps.layers import OperationExperts
from moe_apps.layers.experts.operations import OPERATIONS

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="shown once, on TensorFlow")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 9, 8, 3)).astype("float32")


def depthwise(x: np.ndarray, kernel: np.ndarray, dilation: int = 1) -> np.ndarray:
    """Correlation of every channel with its own kernel `(k, k, channels, 1)`, zeros around."""
    size = dilation * (kernel.shape[0] - 1) + 1
    wide = np.zeros((size, size, x.shape[-1]))
    wide[::dilation, ::dilation] = kernel[..., 0]
    return np.stack(
        [
            [convolve(image[..., c], wide[::-1, ::-1, c], mode="constant") for image in x]
            for c in range(x.shape[-1])
        ],
        axis=-1,
    )


def by_hand(name: str, weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    kind, _, size = name.partition("_")
    if kind == "average":
        ones = np.ones((int(size), int(size), x.shape[-1], 1))
        return depthwise(x, ones) / depthwise(np.ones_like(x), ones)
    if kind == "dilated":
        return depthwise(x, weights[0], 2) @ weights[1][0, 0]
    hidden = np.maximum(depthwise(x, weights[0]) @ weights[1][0, 0], 0)
    return depthwise(hidden, weights[2]) @ weights[3][0, 0]


def test_operations_and_steps_are_the_formula(images):
    names = ("separable_3", "dilated_5", "average_3")
    layer = OperationExperts(steps=2, operations=names)
    outputs, routing = layer(images, return_routing=True)
    gates = array(routing["weights"])
    mean = images.mean(axis=(1, 2))
    hidden = np.maximum(mean @ array(layer.gate_hidden.kernel), 0)
    logits = (hidden @ array(layer.gate_output.kernel)).reshape(2, 2, 3)
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(gates, expected, rtol=1e-5)

    x = np.maximum(images @ array(layer.entry.kernel), 0)
    for step in range(2):
        experts = layer.experts[3 * step : 3 * step + 3]
        scaled = [
            gates[:, step, number, None, None, None]
            * by_hand(name, [array(weight) for weight in expert.weights], x)
            for number, (name, expert) in enumerate(zip(names, experts, strict=True))
        ]
        mixed = np.concatenate(scaled, axis=-1) @ array(layer.mixers[step].kernel)
        x = np.maximum(x + np.maximum(mixed, 0), 0)
    np.testing.assert_allclose(array(outputs), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels, parameters", [(48, 230_816), (96, 814_304)])
def test_the_source_s_layer_has_its_number_of_parameters(channels, parameters):
    layer = OperationExperts()
    layer.build((None, 16, 16, channels))
    assert layer.count_params() == parameters
    assert len(layer.experts) == 4 * len(OPERATIONS) == 32


def test_tiles_may_use_the_weights_of_the_whole_image(images):
    layer = OperationExperts(steps=1, operations=("separable_1", "separable_3"))
    layer.build(images.shape)
    layer.gate_hidden.kernel.assign(np.eye(3, 4))
    layer.gate_output.kernel.assign(np.eye(4, 2) * [40, -40])
    whole = array(layer(images))
    tile = images[:, :6]
    with_own = array(layer(tile))[:, :3]
    with_whole = array(layer(tile, weights=layer.gate(images)))[:, :3]
    np.testing.assert_allclose(with_whole, whole[:, :3], rtol=1e-4, atol=1e-6)
    assert np.abs(with_own - whole[:, :3]).max() > 1e-4


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"steps": 0}, r"`steps` must be at least 1\. Received: 0"),
        ({"operations": ("max_3",)}, r"`operations` has names such as .*Received: 'max_3'"),
        ({"operations": ("dilated",)}, r"Received: 'dilated'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        OperationExperts(**settings)
    with pytest.raises(ValueError, match=r"Received: \(None, 3\)"):
        OperationExperts().build((None, 3))
