from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import FFNExperts, MoE, TopK
from moe_apps.layers.callbacks import FreezeRouterWhenStable


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(16, 4, 3)).astype("float32")


def network(learning_rate: float = 0.05, **settings) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 3)), MoE(TopK(k=1), FFNExperts(4, 3), name="moe")])
    # Momentum and weight decay would move a weight that has no gradient.
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=0.1)
    model.compile(optimizer, "mse", jit_compile=not TENSORFLOW, **settings)
    return model


class Notes(keras.callbacks.Callback):
    """The router's and the experts' weights after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.router: list[np.ndarray] = []
        self.experts: list[np.ndarray] = []

    def on_epoch_end(self, epoch, logs=None):
        layer = self.model.get_layer("moe")
        self.router.append(np.array(array(layer.router.kernel)))
        self.experts.append(np.array(array(layer.experts.stacked_weights[0])))


def test_a_stable_router_is_frozen_to_the_bit_while_experts_train(x):
    model, notes = network(learning_rate=1e-3), Notes()
    callback = FreezeRouterWhenStable(x[:8], min_rounds=3, patience=2, churn=0.2)
    history = model.fit(
        x, np.roll(x, 1, axis=-1), batch_size=4, epochs=6, verbose=0, callbacks=[callback, notes]
    ).history
    assert callback.frozen
    for epoch in range(1, 6):
        same = np.array_equal(notes.router[epoch], notes.router[epoch - 1])
        assert same == (epoch >= 3), epoch  # frozen at the end of the third epoch
        assert (notes.experts[epoch] != notes.experts[epoch - 1]).any()
    assert history["routing_churn"][-1] == 0
    model.fit(x, x, epochs=1, verbose=0, callbacks=[callback])  # and in a second training
    np.testing.assert_array_equal(array(model.get_layer("moe").router.kernel), notes.router[-1])


def test_patience_and_minimum_are_waited_for(x):
    for settings, frozen in (
        ({"min_rounds": 4, "patience": 1}, False),
        ({"min_rounds": 1, "patience": 3}, False),  # the first epoch has nothing to compare with
        ({"min_rounds": 1, "patience": 2}, True),
    ):
        callback = FreezeRouterWhenStable(x[:8], churn=0.5, **settings)
        network(learning_rate=1e-4).fit(x, x, epochs=3, verbose=0, callbacks=[callback])
        assert callback.frozen == frozen, settings


def test_a_router_that_changes_is_left_alone(x):
    model = network()
    callback = FreezeRouterWhenStable(x, min_rounds=1, patience=1, churn=0.0)

    class Disturb(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            router = self.model.get_layer("moe").router
            router.kernel.assign(-array(router.kernel))  # the best expert is now the worst

    history = model.fit(x, x, epochs=3, verbose=0, callbacks=[callback, Disturb()]).history
    assert not callback.frozen
    assert history["routing_churn"][-1] > 0.9


def test_bad_settings_are_named(x):
    for settings, message in (
        ({"min_rounds": 0}, "`min_rounds` must be at least 1. Received: 0"),
        ({"patience": 0}, "`patience` must be at least 1. Received: 0"),
        ({"churn": 1.0}, r"`churn` must be in \[0, 1\). Received: 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            FreezeRouterWhenStable(x, **settings)
    model = network(steps_per_execution=2)
    with pytest.raises(ValueError, match="Received: 2"):
        model.fit(x, x, verbose=0, callbacks=[FreezeRouterWhenStable(x)])
