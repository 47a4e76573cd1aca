"""The router that README shows: it is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_modes import array, assert_same_step, step
from moe_apps.layers import FFNExperts, MoE
from moe_apps.registry import ROUTERS

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def shown(monkeypatch) -> dict[str, Any]:
    """Names that the README's code defines."""
    section = README.read_text().split("### A router of your own")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) < 20
    monkeypatch.setattr(ROUTERS, "_entries", dict(ROUTERS._entries))
    names: dict[str, Any] = {}
    exec(code[1], names)
    return names


def test_it_does_what_it_says(shown):
    router = ROUTERS.get("close_second")(k=2, num_experts=2, kernel_initializer="identity")
    decision = router(np.array([[0.0, 0.6], [0.0, 0.8]], "float32"))  # e^0.6 < 2 < e^0.8
    np.testing.assert_array_equal(array(decision.weights) > 0, [[True, True], [True, False]])
    assert float(decision.statistics["active_experts"]) == 1.5


def test_it_serves_a_layer_with_every_dispatch(shown):
    x = np.random.default_rng(0).normal(size=(2, 8, 16)).astype("float32")
    assert tuple(shown["layer"](x).shape) == x.shape
    layers = [
        MoE(shown["CloseSecond"](k=2), FFNExperts(4, 5), dispatch=dispatch)
        for dispatch in ("dense", "dropless")
    ]
    for layer in layers:
        layer.build(x.shape)
    layers[1].set_weights(layers[0].get_weights())
    dense, sparse = (step(layer, x) for layer in layers)
    assert_same_step(sparse, dense, 1e-5)
    assert all(gradient.any() for gradient in sparse.gradients)
