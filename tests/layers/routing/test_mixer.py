from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MixER, MoE


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 5, 6)).astype("float32")


def test_all_tokens_of_an_example_go_to_the_expert_of_its_context(x):
    router = MixER(context_dim=2, num_experts=3)
    router.build(x.shape)
    router.kernel.assign([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 1.0]])
    context = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 0.5]], "float32")
    decision = router(x, context=context)
    np.testing.assert_array_equal(array(decision.indices)[:, 0], np.repeat([1, 2, 0], 5))
    assert (array(decision.weights) == 1).all()
    powers = np.exp(context @ array(router.kernel)[:2] + array(router.kernel)[2])
    np.testing.assert_allclose(
        array(decision.probabilities),
        np.repeat(powers / powers.sum(axis=1, keepdims=True), 5, axis=0),
        rtol=1e-5,
    )


def test_the_output_is_that_of_the_expert_and_no_gradient_trains_the_gate(x):
    layer = MoE(MixER(context_dim=2, balance_loss_weight=1.0), FFNExperts(4, 5))
    layer.build(x.shape)
    assert all(not w.path.startswith(layer.router.path) for w in layer.trainable_weights)
    context = np.random.default_rng(1).normal(size=(3, 2)).astype("float32")
    result = step(layer, x, "eager", context=context)
    expert = array(layer.router(x, context=context).indices)[::5, 0]
    alone = array(layer.experts(x[np.argsort(expert, kind="stable")], expert_ids=np.sort(expert)))
    np.testing.assert_allclose(
        result.outputs[np.argsort(expert, kind="stable")], alone, rtol=1e-4, atol=1e-5
    )


def test_whole_examples_may_be_routed(x):
    layer = MoE(MixER(context_dim=2), FFNExperts(4, 5))
    assert tuple(layer(x[:, 0], context=np.ones((3, 2), "float32")).shape) == (3, 6)


def test_bad_contexts_and_settings_are_named(x):
    with pytest.raises(ValueError, match=r"`context_dim` must be at least 1. Received: 0"):
        MixER(context_dim=0)
    router = MixER(context_dim=2, num_experts=3)
    with pytest.raises(ValueError, match=r"of shape \(batch, 2\). Received: None"):
        router(x)
    with pytest.raises(ValueError, match=r"of shape \(batch, 2\). Received: \(3, 4\)"):
        router(x, context=np.ones((3, 4)))
