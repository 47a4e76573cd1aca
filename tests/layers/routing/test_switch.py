from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MoE, RouterInputs, Switch


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 6)).astype("float32")


def test_one_expert_weighted_by_its_probability():
    router = Switch(num_experts=3, kernel_initializer="identity")
    logits = np.log([[1, 2, 5], [6, 1, 1]]).astype("float32")
    decision = router(logits)
    np.testing.assert_array_equal(array(decision.indices), [[2], [0]])
    np.testing.assert_allclose(array(decision.weights), [[0.625], [0.75]], rtol=1e-6)


def test_balance_loss_is_that_of_the_paper():
    # E * sum_e f_e P_e with f = (2/3, 1/3), P = ((0.6 + 0.9 + 0.3) / 3, 0.4): it lies above 1 here.
    router = Switch(num_experts=2, balance_loss_weight=0.1, kernel_initializer="identity")
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7]], "float32")
    loss = router(np.log(p)).losses["balance"]
    np.testing.assert_allclose(array(loss), 0.1 * 2 * (2 / 3 * 0.6 + 1 / 3 * 0.4), rtol=1e-5)


def test_the_task_alone_trains_the_router(rows):
    layer = MoE(Switch(), FFNExperts(4, 5))
    gradients = step(layer, rows, with_losses=False).gradients
    router = [w.path for w in layer.trainable_variables].index(layer.router.kernel.path)
    assert gradients[router].any()


def test_jitter_is_in_training_only(rows):
    router = Switch(num_experts=5, seed=1)
    router.build(rows.shape)

    def logits(training: bool) -> np.ndarray:
        inputs = RouterInputs(ops.convert_to_tensor(rows), None, (40,), None, None, training)
        return array(router.score(inputs))

    np.testing.assert_array_equal(logits(False), logits(False))
    distance = np.abs(logits(True) - logits(False))
    assert distance.max() > 0
    assert (distance <= 1e-2 * np.abs(rows) @ np.abs(array(router.kernel)) + 1e-5).all()
    assert (logits(True) != logits(True)).any()


def test_jitter_is_a_share():
    with pytest.raises(ValueError, match=r"`jitter` must be in \[0, 1\)\. Received: 1"):
        Switch(jitter=1)
