from __future__ import annotations

import pytest

from keras_modes import TENSORFLOW, in_mode
from moe_apps.layers.dispatch import compilation


def seen_in(mode: str) -> bool:
    seen = []

    def look(x):
        seen.append(compilation.compiles_with_static_shapes())
        return x

    in_mode(look, mode)(1.0)
    return seen[0]


def test_static_shapes_are_asked_for_where_xla_compiles(mode):
    assert seen_in(mode) is (mode == "xla" or not TENSORFLOW)


@pytest.mark.skipif(not TENSORFLOW, reason="JAX always compiles")
def test_a_function_inside_a_compiled_one_is_compiled_too():
    import tensorflow as tf

    seen = []

    @tf.function
    def inner(x):
        seen.append(compilation.compiles_with_static_shapes())
        return x

    tf.function(lambda x: inner(x) + 1, jit_compile=True)(1.0)
    assert seen == [True]


def test_static_shapes_are_the_answer_when_it_cannot_be_told(monkeypatch):
    monkeypatch.setattr(compilation.sys, "modules", {})
    assert compilation.compiles_with_static_shapes()
