from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import EnforcedRouting, FFNExperts, MoE, TopK


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")


@pytest.mark.parametrize("learned_gate", [False, True])
def test_the_domain_of_an_example_or_a_token_is_its_expert(x, learned_gate):
    router = EnforcedRouting(learned_gate=learned_gate, num_experts=5)
    by_example = np.array([4, 0, 2])
    by_token = np.repeat(by_example[:, None], 4, axis=1)
    by_token[0, 1] = 3
    for context, expected in ((by_example, np.repeat(by_example, 4)), (by_token, by_token.ravel())):
        decision = router(x, context=context)
        np.testing.assert_array_equal(array(decision.indices)[:, 0], expected)
        assert (array(decision.weights) == 1).all()
        np.testing.assert_array_equal(array(decision.probabilities), np.eye(5)[expected])
        assert float(decision.statistics["entropy"]) == 0


def test_unknown_domains_go_nowhere_without_a_gate(x):
    layer = MoE(EnforcedRouting(), FFNExperts(5, 3))
    context = np.array([1, -1, 5])  # 5 is past the last
    outputs = array(layer(x, context=context))
    assert outputs[0].any() and not outputs[1:].any()
    assert layer.router.weights == []
    load = array(layer.router(x, context=context).statistics["load"])
    np.testing.assert_array_equal(load, np.eye(5)[1])


def test_unknown_domains_go_where_the_gate_says(x):
    router, top_1 = EnforcedRouting(learned_gate=True, num_experts=5), TopK(1, num_experts=5)
    for one in (router, top_1):
        one.build(x.shape)
    top_1.set_weights(router.get_weights())
    decision, expected = router(x, context=np.array([1, -1, 2])), top_1(x)
    for name in ("indices", "weights", "probabilities"):
        np.testing.assert_allclose(
            array(getattr(decision, name))[4:8], array(getattr(expected, name))[4:8], rtol=1e-5
        )


def test_only_tokens_of_unknown_domain_train_the_gate(x):
    layer = MoE(
        EnforcedRouting(learned_gate=True, balance_loss_weight=0.5, z_loss_weight=0.5),
        FFNExperts(5, 3),
    )
    known = step(layer, x, "eager", context=np.array([1, 0, 2]))
    assert not known.gradients[0].any() and known.gradients[1].any()
    unknown = step(layer, x, "eager", context=np.array([1, -1, 2]))
    assert unknown.gradients[0].any() and np.isfinite(unknown.losses)


def test_experts_of_other_domains_are_not_trained(x):
    layer = MoE(EnforcedRouting(), FFNExperts(5, 3))
    gradient = step(layer, x, "eager", context=np.array([1, 1, 3])).gradients[0]
    np.testing.assert_array_equal(gradient.any(axis=(1, 2)), [False, True, False, True, False])


def test_the_domain_must_be_given(x):
    with pytest.raises(ValueError, match="needs the domain numbers as `context`"):
        EnforcedRouting(num_experts=3)(x)
    with pytest.raises(ValueError, match="does not know its number of experts"):
        EnforcedRouting()(x, context=np.array([0, 1, 2]))


def test_without_a_gate_there_is_no_loss(x):
    router = EnforcedRouting(num_experts=3, balance_loss_weight=1.0, z_loss_weight=1.0)
    assert router(x, context=np.array([0, -1, 2])).losses == {}
