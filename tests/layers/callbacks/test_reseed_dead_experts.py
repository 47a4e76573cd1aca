from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import FFNExperts, MoE, TopK
from moe_apps.layers.callbacks import ReseedDeadExperts
from moe_apps.layers.callbacks.probe import router_calls


@pytest.fixture
def x() -> np.ndarray:
    """Positive features, so that a column of -9 makes an expert dead."""
    return np.random.default_rng(0).uniform(0.5, 1.5, size=(16, 4, 3)).astype("float32")


@pytest.fixture
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 3)), MoE(TopK(k=1), FFNExperts(4, 3), name="moe")])
    model.compile(keras.optimizers.SGD(1e-6), "mse", jit_compile=not TENSORFLOW)
    columns = np.array([[1.0, 0.9, -9, -9], [0.9, 1.0, -9, -9], [1.0, 0.9, -9, -9]])
    model.get_layer("moe").router.kernel.assign(columns)
    return model


def load_of(model: keras.Model, x: np.ndarray) -> np.ndarray:
    (call,) = router_calls(model, x)[model.get_layer("moe").router.path]
    return array(call.decision.statistics["load"])


def test_dead_experts_start_again_near_the_busiest(model, x):
    before = load_of(model, x)
    assert not before[2:].any() and before[:2].all()
    layer, busiest = model.get_layer("moe"), int(before.argmax())
    kernel = array(layer.experts.stacked_weights[0])
    # The third epoch must take the new weights up: on JAX the training loop holds them.
    model.fit(x, x, epochs=3, verbose=0, callbacks=[ReseedDeadExperts(x, patience=2, noise=0.1)])
    after = array(layer.experts.stacked_weights[0])
    np.testing.assert_allclose(after[:2], kernel[:2], atol=1e-4)
    for expert in (2, 3):
        distance = (after[expert] - kernel[busiest]).std() / kernel[busiest].std()
        assert 0.03 < distance < 0.3
    assert (after[2] != after[3]).any()
    columns = array(layer.router.kernel)
    lengths = np.linalg.norm(columns, axis=0)
    np.testing.assert_allclose(lengths[2:], lengths[busiest], rtol=1e-3)
    assert (columns[:, 2] != columns[:, 3]).any()


def test_patience_is_waited_for_and_live_experts_are_left_alone(model, x):
    layer = model.get_layer("moe")
    before = [array(weight) for weight in layer.weights]
    model.fit(x, x, epochs=2, verbose=0, callbacks=[ReseedDeadExperts(x, patience=3)])
    for old, new in zip(before, layer.weights, strict=True):
        np.testing.assert_allclose(array(new), old, atol=1e-4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"share": 1.0}, r"`share` must be in \(0, 1\). Received: 1.0"),
        ({"patience": 0}, "`patience` must be at least 1. Received: 0"),
        ({"noise": 0}, "`noise` must be greater than 0. Received: 0"),
    ],
)
def test_bad_settings_are_named(x, settings, message):
    with pytest.raises(ValueError, match=message):
        ReseedDeadExperts(x, **settings)
