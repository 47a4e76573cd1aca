"""Running a layer eagerly, as a graph and under XLA, on whichever backend Keras has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

TENSORFLOW = keras.backend.backend() == "tensorflow"
MODES = ("eager", "graph", "xla") if TENSORFLOW else ("eager", "xla")
# JAX compiles op by op where it runs eagerly, which takes long; a few tests do so all the same.
QUICKEST = "eager" if TENSORFLOW else "xla"


def _modes(slow: str) -> list[Any]:
    """What to run a test by in turn; on TensorFlow all modes, one of them in `make test-all`."""
    if not TENSORFLOW:
        return ["xla"]
    return [pytest.param(mode, marks=pytest.mark.slow) if mode == slow else mode for mode in MODES]


LAYER_MODES = _modes(slow="xla")  # which JAX shows by default, and test_moe.py on TensorFlow
MODEL_MODES = _modes(slow="graph")  # in which models are trained and exported


def in_mode(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """The function compiled for a mode; it takes tensors, returns arrays, changes no state."""
    if TENSORFLOW:
        import tensorflow as tf

        run = function
        if mode != "eager":
            run = tf.function(function, jit_compile=mode == "xla", autograph=False)
    else:
        import jax

        run = jax.jit(function) if mode == "xla" else function

    def call(*arguments: Any) -> Any:
        tensors = keras.tree.map_structure(ops.convert_to_tensor, arguments)
        return keras.tree.map_structure(array, run(*tensors))

    return call


def array(tensor: Any) -> np.ndarray:
    if tensor is None:
        return np.zeros(())
    tensor = ops.convert_to_tensor(tensor)
    if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
        tensor = ops.cast(tensor, "float32")
    return np.asarray(tensor)


class Step(NamedTuple):
    """Result of a forward and backward pass."""

    outputs: Any  # an array, or the structure of arrays that the layer gives
    losses: np.ndarray
    input_gradient: np.ndarray
    gradients: list[np.ndarray]  # in the order of `trainable_variables`; 0 where there is none


def step(
    layer: Any,
    x: np.ndarray,
    mode: str = QUICKEST,
    *,
    training: bool = True,
    with_losses: bool = True,
    **arguments: Any,
) -> Step:
    """Outputs of a layer, sum of its losses, and gradients of `sum(cos(i) outputs_i) + losses`.

    The sum runs over the numbers of all outputs that are not whole.
    """
    if not layer.built:
        layer.build(x.shape)
    arguments = {name: ops.convert_to_tensor(value) for name, value in arguments.items()}
    x = ops.cast(ops.convert_to_tensor(x), layer.compute_dtype)

    def objective(outputs: Any, losses: list[Any]) -> tuple[Any, Any]:
        real = [leaf for leaf in keras.tree.flatten(outputs) if "float" in str(leaf.dtype)]
        flat = ops.concatenate([ops.reshape(ops.cast(leaf, "float32"), (-1,)) for leaf in real])
        total = sum(losses) if losses else ops.zeros(())
        projected = ops.sum(flat * ops.cos(ops.arange(ops.shape(flat)[0], dtype="float32")))
        return projected + total if with_losses else projected, total

    if TENSORFLOW:
        import tensorflow as tf

        def run(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x, training=training, **arguments)
                value, total = objective(outputs, layer.losses)
            weights = [variable.value for variable in layer.trainable_variables]
            gradients = tape.gradient(
                value, [x, *weights], unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            # A table's gradient comes as rows and their numbers.
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
            return outputs, total, gradients[0], gradients[1:]

        if mode != "eager":
            run = tf.function(run, jit_compile=mode == "xla", autograph=False)
        result = run(x)
    else:
        import jax

        fixed = [variable.value for variable in layer.non_trainable_variables]
        weights = [variable.value for variable in layer.trainable_variables]

        if "training" in inspect.signature(layer.call).parameters:
            arguments["training"] = training

        def value(x: Any, weights: Any) -> Any:
            outputs, _, losses = layer.stateless_call(
                weights, fixed, x, return_losses=True, **arguments
            )
            value, total = objective(outputs, losses)
            return value, (outputs, total)

        run = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
        (_, (outputs, total)), gradients = (jax.jit(run) if mode == "xla" else run)(x, weights)
        result = (outputs, total, *gradients)
    outputs, total, input_gradient, gradients = result
    outputs = keras.tree.map_structure(array, outputs)
    return Step(outputs, array(total), array(input_gradient), [array(g) for g in gradients])


def assert_same_step(one: Step, two: Step, tolerance: float) -> None:
    """Outputs, losses and gradients agree, gradients relative to the largest of their kind."""
    outputs = (keras.tree.flatten(one.outputs), keras.tree.flatten(two.outputs))
    for first, second in zip(*outputs, strict=True):
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.losses, two.losses, rtol=tolerance, atol=tolerance)
    pairs = zip(
        [one.input_gradient, *one.gradients], [two.input_gradient, *two.gradients], strict=True
    )
    for first, second in pairs:
        scale = max(np.abs(second).max(), 1.0)
        np.testing.assert_allclose(first / scale, second / scale, rtol=0, atol=tolerance)
