from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import TENSORFLOW, array
from moe_apps.layers import Capacity, FFNExperts, MoE, RouterInputs, RoutingDecision, TopK
from moe_apps.layers.callbacks import ScheduledSetting

PiecewiseConstantDecay = keras.optimizers.schedules.PiecewiseConstantDecay


class Cooled(TopK):
    """Adds up the temperatures that its training steps see."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.add_setting("temperature", 1.0)
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def distribution(self, logits: Any, inputs: RouterInputs) -> Any:
        return ops.softmax(logits / self.settings["temperature"])

    def observe(self, decision: RoutingDecision, inputs: RouterInputs) -> None:
        self.seen.assign_add(self.settings["temperature"])


class Block(keras.layers.Layer):
    """An MoE layer that the model's own list of layers does not show."""

    def __init__(self, moe: MoE) -> None:
        super().__init__()
        self.moe = moe

    def build(self, input_shape: Any) -> None:
        self.moe.build(input_shape)

    def call(self, x: Any) -> Any:
        return x + self.moe(x)


def compiled(moe: MoE, jit_compile: bool = True, **settings: Any) -> keras.Model:
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, Block(moe)(inputs))
    model.compile("sgd", "mse", jit_compile=jit_compile, **settings)
    return model


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 4, 3)).astype("float32")


def test_every_compiled_step_sees_the_value_of_its_step(x):
    router = Cooled(k=1)
    model = compiled(MoE(router, FFNExperts(2, 3)))
    callback = ScheduledSetting("temperature", PiecewiseConstantDecay([1, 5], [2.0, 3.0, 10.0]))
    model.fit(x, x, batch_size=2, verbose=0, callbacks=[callback])
    assert float(array(router.seen)) == 2 + 2 + 3 + 3
    model.fit(x, x, batch_size=2, verbose=0, callbacks=[callback])  # steps 4 to 7
    assert float(array(router.seen)) == 10 + 3 + 3 + 10 + 10
    assert float(array(router.settings["temperature"])) == 10


def test_steps_are_counted_where_several_run_at_once(x):
    router = Cooled(k=1)
    moe = MoE(router, FFNExperts(2, 3))
    model = compiled(moe, jit_compile=not TENSORFLOW, steps_per_execution=2)
    callback = ScheduledSetting("temperature", lambda step: 1.0 + step)
    model.fit(x, x, batch_size=2, epochs=2, verbose=0, callbacks=[callback])
    assert float(array(router.seen)) == 2 * (1 + 3 + 5 + 7)


def test_weights_train_on_where_a_setting_changes_at_each_step(x):
    """On JAX the training loop holds the weights; an assignment must not bring old ones back."""
    results = []
    changing = ScheduledSetting("temperature", lambda step: 1.0 + 1e-12 * (step % 2))
    for callbacks in ([], [changing]):
        keras.utils.set_random_seed(0)
        model = compiled(MoE(Cooled(k=1), FFNExperts(2, 3)), jit_compile=not TENSORFLOW)
        model.fit(x, x, batch_size=2, shuffle=False, verbose=0, callbacks=callbacks)
        results.append([array(weight) for weight in model.trainable_variables])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_scheduled_capacity_limits_the_slots(policy):
    layer = MoE(
        TopK(k=1, kernel_initializer="zeros"),  # all ties: every token goes to expert 0
        FFNExperts(2, 3, dtype=policy),
        dispatch=Capacity(2.0, scheduled=True),
        dtype=policy,
    )
    x = np.random.default_rng(0).normal(size=(1, 10, 3)).astype("float32")
    layer.build(x.shape)
    layer.experts.stacked_weights[3].assign_add(np.ones((2, 1, 3)))  # no output of zeros
    run = ops.convert_to_tensor

    def served(training: bool) -> int:
        outputs = array(layer(run(x), training=training))
        return int(outputs.any(axis=-1).sum())

    assert served(training=True) == 10
    for factor, slots in ((0.2, 1), (0.6, 3), (0.61, 4), (1.0, 5), (5.0, 10)):
        layer.settings["capacity"].assign(factor)
        assert served(training=True) == slots, factor
        assert served(training=False) == 10  # inference has its own factor, unscheduled


def test_capacity_can_be_scheduled_under_fit(x):
    moe = MoE(TopK(k=1), FFNExperts(2, 3), dispatch=Capacity(2.0, scheduled=True), name="moe")
    model = compiled(moe, jit_compile=not TENSORFLOW)
    callback = ScheduledSetting("capacity", lambda step: 0.5)
    history = model.fit(x, x, batch_size=2, verbose=0, callbacks=[callback]).history
    assert float(array(moe.settings["capacity"])) == 0.5
    if TENSORFLOW:  # JAX follows no metrics of layers
        assert history["moe/drop_rate"][0] >= 0.5


def test_a_setting_that_no_layer_has_is_named(x):
    model = compiled(MoE(Cooled(k=1), FFNExperts(2, 3)))
    with pytest.raises(ValueError, match=r"setting 'heat'; there are: \['temperature'\]"):
        model.fit(x, x, verbose=0, callbacks=[ScheduledSetting("heat", float)])
