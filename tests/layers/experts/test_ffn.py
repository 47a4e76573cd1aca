from __future__ import annotations

import numpy as np

from moe_apps.layers import FFNExperts


def test_it_is_the_formula():
    rows = np.random.default_rng(1).normal(size=(3, 4, 6)).astype("float32")
    bank = FFNExperts(3, 5, output_dim=2)
    bank.build(rows.shape)
    draw = np.random.default_rng(2).normal
    bank.set_weights([draw(size=weight.shape) for weight in bank.get_weights()])
    first, second, first_bias, second_bias = bank.get_weights()
    expected = np.maximum(rows @ first + first_bias, 0) @ second + second_bias
    np.testing.assert_allclose(bank(rows), expected, rtol=1e-4, atol=1e-5)
