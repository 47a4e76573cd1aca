"""What the code being traced may count on, and gradients taken inside it.

The one place under `layers/` that looks behind the Keras backend.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import keras


def compiles_with_static_shapes() -> bool:
    """True on JAX, and inside `tf.function(jit_compile=True)`; False in eager and graph mode.

    TensorFlow marks a graph under XLA compilation in its own control-flow context, which it
    does not publish. If the mark cannot be read, the answer is True: static shapes work
    everywhere.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    try:
        # Already imported by the backend; looked up, not imported, to keep this floor free of it.
        control_flow = sys.modules["tensorflow.python.ops.control_flow_util"]
        graph = sys.modules["tensorflow.python.framework.ops"].get_default_graph()
        return bool(control_flow.GraphOrParentsInXlaContext(graph))
    except (KeyError, AttributeError):
        return True


def keeps_layer_metrics() -> bool:
    """False inside the pure functions that JAX trains with: they carry no metrics of layers.

    Keras has even taken the values of those variables away then, so reading them fails.
    """
    if keras.backend.backend() == "tensorflow":
        return True
    try:
        scope = sys.modules["keras.src.backend.common.stateless_scope"]
        return not scope.in_stateless_scope()
    except (KeyError, AttributeError):
        return False


def vjp(function: Callable[..., Any], *inputs: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Outputs of `function`, and what maps the outputs' gradient to those of the inputs.

    Keras has no such function; it differentiates models only.
    """
    backend = importlib.import_module(keras.backend.backend())
    if keras.backend.backend() != "tensorflow":
        return backend.vjp(function, *inputs)
    inputs = tuple(backend.identity(value) for value in inputs)  # the tape tells them apart
    with backend.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
    return outputs, lambda upstream: tape.gradient(
        outputs, inputs, upstream, unconnected_gradients="zero"
    )
