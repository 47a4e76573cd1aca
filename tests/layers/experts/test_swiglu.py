from __future__ import annotations

import numpy as np
import pytest

from moe_apps.layers import SwiGLU


@pytest.mark.parametrize("gated", [False, True])
def test_it_is_the_formula(gated):
    x = np.random.default_rng(1).normal(size=(2, 4, 6)).astype("float32")
    layer = SwiGLU(5, gated=gated)
    layer.build(x.shape)
    gate, up, down, *output_gate = layer.get_weights()
    hidden = x @ gate
    expected = (hidden / (1 + np.exp(-hidden)) * (x @ up)) @ down
    if gated:
        expected = expected / (1 + np.exp(-(x @ output_gate[0])))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_round_trip():
    layer = SwiGLU.from_config(SwiGLU(5, gated=True, name="unit").get_config())
    assert (layer.hidden_dim, layer.gated, layer.name) == (5, True, "unit")
