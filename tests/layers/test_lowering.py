"""Every router, and a model, are lowered for TPU and GPU: no such device is needed for that.

Lowering shows that each operation has a form for the platform and that shapes are static; it
does not show that the platform computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import TENSORFLOW
from layer_entries import FEATURES, ROUTER_ENTRIES, arguments_of, layer_of
from moe_apps.models.forecasting import TimeMoE

ROUTER = pytest.mark.parametrize("entry", ROUTER_ENTRIES, ids=str)


def without_weights(build: Callable[[], Any]) -> Any:
    """What `build` makes, whose weights are never drawn: they are arguments when it is lowered."""
    with keras.StatelessScope(initialize_variables=False):
        return build()


def floats(outputs: Any) -> list[Any]:
    return [leaf for leaf in keras.tree.flatten(outputs) if "float" in str(leaf.dtype)]


def lower(layer: Any, x: Any, **arguments: Any) -> str:
    """The layer's program for an accelerator, with its weights among the arguments.

    On JAX inference and a training step, for TPU and GPU; on TensorFlow inference, for GPU.
    """

    def call(trainable: Any, fixed: Any, x: Any, arguments: Any, **settings: Any) -> Any:
        return layer.stateless_call(trainable, fixed, x, **arguments, **settings)

    weights = [layer.trainable_variables, layer.non_trainable_variables]
    if TENSORFLOW:
        import tensorflow as tf

        run = tf.function(
            lambda *given: keras.tree.flatten(call(*given, training=False)[0]),
            jit_compile=True,
            autograph=False,
        )
        zeros = [[tf.zeros(v.shape, v.dtype) for v in variables] for variables in weights]
        given = keras.tree.map_structure(tf.convert_to_tensor, (x, arguments))
        return run.experimental_get_compiler_ir(*zeros, *given)(stage="hlo", platform_name="GPU")

    import jax.export

    def loss(trainable: Any, fixed: Any, x: Any, arguments: Any) -> Any:
        outputs, fixed, losses = call(
            trainable, fixed, x, arguments, training=True, return_losses=True
        )
        return sum(ops.sum(leaf) for leaf in floats(outputs)) + sum(losses), fixed

    def both(*given: Any) -> Any:
        return call(*given, training=False)[0], jax.value_and_grad(loss, has_aux=True)(*given)

    shapes = [
        [jax.ShapeDtypeStruct(tuple(v.shape), v.dtype) for v in variables] for variables in weights
    ]
    export = jax.export.export(jax.jit(both), platforms=["tpu", "cuda"])
    return export(*shapes, x, arguments).mlir_module()


def assert_static(program: str) -> None:
    """It is a whole program, and no axis of it is unknown ("?" in MLIR, "<=" in HLO)."""
    assert "func.func public @main" in program or "ENTRY" in program
    assert "<?x" not in program and "x?x" not in program and "[<=" not in program


@ROUTER
def test_every_router_is_lowered(entry):
    x = np.random.default_rng(0).normal(size=(3, 8, FEATURES)).astype("float32")

    def build() -> Any:
        layer = layer_of(entry)
        layer.build(x.shape)
        return layer

    assert_static(lower(without_weights(build), x, **arguments_of(entry, x)))


def test_a_forecasting_model_is_lowered():
    sizes = {"num_layers": 1, "context_length": 24, "horizon_lengths": (1, 8)}
    model = without_weights(lambda: TimeMoE.from_preset("tiny", **sizes))
    assert_static(lower(model, {"values": np.zeros((2, 24), "float32")}))
