from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from moe_apps.layers.routing.pooled_balance import PooledBalanceLoss

EXPERTS = 6


def routing(first: int, k: int, tokens: int = EXPERTS) -> dict[str, np.ndarray]:
    """Token t goes to experts first + t, first + t + 1, ... with uniform probabilities."""
    chosen = sum(np.eye(EXPERTS)[(first + np.arange(tokens) + j) % EXPERTS] for j in range(k))
    weights = np.asarray(chosen, "float32") / EXPERTS
    return {"weights": weights, "probabilities": np.full((tokens, EXPERTS), 1 / EXPERTS, "float32")}


@pytest.mark.parametrize("k", [1, 2, 3])
def test_it_is_k_at_balance(k):
    value = PooledBalanceLoss(k, weight=1.0).value([routing(0, k), routing(1, k)])
    assert float(value) == pytest.approx(k)


def test_layers_balance_each_other_out():
    """Each layer uses half of the experts with certainty, together they use all."""

    def half(first: int) -> dict[str, np.ndarray]:
        rows = np.eye(EXPERTS, dtype="float32")[first + np.arange(6) % 3]
        return {"weights": rows, "probabilities": rows}

    pooled = PooledBalanceLoss(1, weight=1.0)
    assert float(pooled.value([half(0), half(3)])) == pytest.approx(1)
    assert float(pooled.value([half(0)])) == pytest.approx(2)


def test_it_is_added_in_training_only_and_masked():
    layer = PooledBalanceLoss(2, weight=0.5)
    x = ops.ones((2, 3))
    assert layer(x, routings=[routing(0, 2)]) is not None and layer.losses == []
    skewed = routing(0, 2)
    skewed["probabilities"] = np.eye(EXPERTS, dtype="float32")[[0, 0, 0, 5, 5, 5]]
    mask = np.arange(EXPERTS) < 3
    skewed["weights"] = skewed["weights"] * mask[:, None]
    layer(x, routings=[skewed], mask=mask, training=True)
    # Of six active pairs one is expert 0's, where all probability of the real tokens is.
    assert float(layer.losses[0]) == pytest.approx(0.5 * 2 * EXPERTS / 6)
