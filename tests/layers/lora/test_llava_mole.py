from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import FFNExperts, LLaVAMoLE, MoE


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 5, 6)).astype("float32")


def test_the_best_expert_is_taken_whole_or_weighted(x):
    whole, weighted = LLaVAMoLE(num_experts=3), LLaVAMoLE(weighted=True, num_experts=3)
    whole.build(x.shape), weighted.build(x.shape)
    weighted.set_weights(whole.get_weights())
    one, two = whole(x), weighted(x)
    p = array(one.probabilities)
    np.testing.assert_array_equal(array(one.indices)[:, 0], p.argmax(axis=-1))
    assert (array(one.weights) == 1).all()
    np.testing.assert_allclose(array(two.weights)[:, 0], p.max(axis=-1), rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_balance_is_within_each_sample(x, masked):
    mask = np.arange(5) < np.array([[5], [2], [0]]) if masked else np.ones((3, 5), bool)
    router = LLaVAMoLE(num_experts=3, balance_loss_weight=0.5)
    decision = router(x, mask=mask if masked else None)
    p = array(decision.probabilities).reshape(3, 5, 3)
    chosen = np.eye(3)[array(decision.indices)[:, 0]].reshape(3, 5, 3)
    expected = np.mean(
        [
            (p[i, real].mean(axis=0) * chosen[i, real].mean(axis=0)).sum()
            for i, real in enumerate(mask)
            if real.any()
        ]
    )
    np.testing.assert_allclose(array(decision.losses["balance"]), 0.5 * expected, rtol=1e-5)


def test_without_the_balance_term_nothing_trains_the_router(x):
    def gradient(**settings) -> np.ndarray:
        layer = MoE(LLaVAMoLE(**settings), FFNExperts(3, 4), name="moe")
        result = step(layer, x)
        return result.gradients[0]  # of the router's kernel

    assert not gradient(balance_loss_weight=0.0).any()
    assert gradient().any()
    assert gradient(balance_loss_weight=0.0, weighted=True).any()
