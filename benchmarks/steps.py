"""Compiled forward passes and training steps, as functions that give their seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import keras

Step = Callable[[], float]
Pass = Literal["forward", "training"]
BACKEND = keras.backend.backend()
MODES = ("graph", "xla") if BACKEND == "tensorflow" else ("xla",)


def compiled_step(layer: keras.layers.Layer, x: Any, mode: str, kind: Pass) -> Step:
    """One step of a layer on `x`, compiled and run once."""
    inputs = keras.Input(batch_shape=x.shape)
    model = keras.Model(inputs, layer(inputs))
    return timed((_tensorflow if BACKEND == "tensorflow" else _jax)(model, x, mode, kind))


def timed(run: Callable[[], Any]) -> Step:
    run()

    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return seconds


def _loss(outputs: Any) -> Any:
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return keras.ops.mean(keras.ops.square(outputs))


def _tensorflow(model: keras.Model, x: Any, mode: str, kind: Pass) -> Callable[[], Any]:
    import tensorflow as tf

    @tf.function(jit_compile=mode == "xla", autograph=False)
    def training() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.add_n([_loss(model(x, training=True)), *model.losses])
        weights = [variable.value for variable in model.trainable_variables]
        return loss, tape.gradient(loss, [x, *weights])

    @tf.function(jit_compile=mode == "xla", autograph=False)
    def forward() -> Any:
        return [_loss(model(x, training=False))]

    step = training if kind == "training" else forward
    return lambda: float(step()[0])


def _jax(model: keras.Model, x: Any, mode: str, kind: Pass) -> Callable[[], Any]:
    import jax

    fixed = [variable.value for variable in model.non_trainable_variables]
    weights = [variable.value for variable in model.trainable_variables]

    def loss(weights: Any, x: Any) -> Any:
        outputs, _, losses = model.stateless_call(
            weights, fixed, x, training=True, return_losses=True
        )
        return _loss(outputs) + sum(losses)

    def forward(weights: Any, x: Any) -> Any:
        return _loss(model.stateless_call(weights, fixed, x, training=False)[0])

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)) if kind == "training" else forward)
    return lambda: jax.block_until_ready(step(weights, x))
