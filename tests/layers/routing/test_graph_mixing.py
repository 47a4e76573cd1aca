from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array
from moe_apps.layers import AttentionAware, FFNExperts, MoE, SimilarityAware, TopK


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")


def attention(seed: int = 1, heads: tuple[int, ...] = ()) -> np.ndarray:
    powers = np.exp(np.random.default_rng(seed).normal(size=(2, *heads, 5, 5)))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype("float32")


def plain(router, x: np.ndarray) -> np.ndarray:
    """`softmax(x W)` of the router's own matrix, `(batch, time, experts)`."""
    return array(ops.softmax(ops.matmul(x, router.kernel), axis=-1))


def mixed(decision) -> np.ndarray:
    return array(decision.probabilities).reshape(2, 5, -1)


def test_attention_mixes_distributions_and_the_best_of_the_mixture_are_chosen(x):
    router, given = AttentionAware(k=2, num_experts=4), attention()
    decision = router(x, context=given)
    expected = given @ plain(router, x)
    np.testing.assert_allclose(mixed(decision), expected, rtol=1e-4)
    np.testing.assert_allclose(mixed(decision).sum(axis=-1), 1, rtol=1e-5)
    rows = expected.reshape(10, 4)
    np.testing.assert_array_equal(array(decision.indices), np.argsort(-rows)[:, :2])
    np.testing.assert_allclose(array(decision.weights), -np.sort(-rows)[:, :2], rtol=1e-4)


def test_heads_are_averaged(x):
    router, given = AttentionAware(k=2, num_experts=4), attention(heads=(3,))
    expected = mixed(router(x, context=given.mean(axis=1)))
    np.testing.assert_allclose(mixed(router(x, context=given)), expected, rtol=1e-5)


def test_the_identity_gives_top_k(x):
    router, top_k = AttentionAware(k=2, num_experts=4), TopK(k=2, num_experts=4)
    for one in (router, top_k):
        one.build(x.shape)
    top_k.set_weights(router.get_weights())
    decision = router(x, context=np.tile(np.eye(5, dtype="float32"), (2, 1, 1)))
    for name in ("indices", "weights", "probabilities"):
        expected = array(getattr(top_k(x), name))
        np.testing.assert_allclose(array(getattr(decision, name)), expected, rtol=1e-4)


def test_similarity_is_that_of_the_formula(x):
    router = SimilarityAware(temperature=0.7, k=2, num_experts=4)
    decision = router(x)
    powers = np.exp(x @ array(router.metric) @ x.swapaxes(1, 2) / 0.7)
    expected = powers / powers.sum(axis=-1, keepdims=True) @ plain(router, x)
    np.testing.assert_allclose(mixed(decision), expected, rtol=1e-3, atol=1e-6)
    router.settings["temperature"].assign(1e3)  # all tokens alike: one routing a sequence
    same = mixed(router(x))
    np.testing.assert_allclose(same, np.tile(same[:, :1], (1, 5, 1)), rtol=0.1)


def test_equal_tokens_are_routed_alike(x):
    x[:, 3] = x[:, 1]
    decision = mixed(SimilarityAware(k=2, num_experts=4)(x))
    np.testing.assert_allclose(decision[:, 3], decision[:, 1], rtol=1e-5)
    assert np.abs(decision[:, 2] - decision[:, 1]).max() > 1e-3


def test_mixing_pulls_neighbours_together(x):
    """Not that entropy falls: for a mean of distributions it usually rises."""
    router = AttentionAware(k=1, num_experts=4)
    half = 0.5 * np.eye(5, dtype="float32") + 0.1
    spread = mixed(router(x, context=np.tile(half, (2, 1, 1)))).std(axis=1)
    assert (spread < 0.6 * plain(router, x).std(axis=1)).all()


@pytest.mark.parametrize("cls", [SimilarityAware, AttentionAware])
def test_causal_routing_does_not_see_what_comes_later(x, cls):
    later = x.copy()
    later[:, 3:] = 5 * later[:, 3:]
    context = {} if cls is SimilarityAware else {"context": attention()}
    for causal in (True, False):
        router = cls(causal=causal, k=2, num_experts=4)
        one, two = (mixed(router(value, **context))[:, :3] for value in (x, later))
        assert np.allclose(one, two, rtol=1e-5) == causal
    np.testing.assert_allclose(mixed(router(x, **context)).sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_padding_gives_no_share_and_a_row_without_neighbours_is_its_own(x, causal):
    mask = np.array([[True, True, False, True, False], [False] * 5])
    x[0, 2] = 100 * x[0, 0]  # padding that would draw all similarity to itself
    router = SimilarityAware(causal=causal, k=2, num_experts=4)
    padded = mixed(router(x, mask=mask))
    assert np.isfinite(padded).all()
    if not causal:
        real = x[:1, [0, 1, 3]]
        alone = array(router(real).probabilities).reshape(1, 3, 4)
        np.testing.assert_allclose(padded[:1, [0, 1, 3]], alone, rtol=1e-4)
    given = np.zeros((2, 5, 5), "float32")  # attention that sees nothing
    by_attention = AttentionAware(causal=causal, k=2, num_experts=4)
    decision = mixed(by_attention(x, mask=mask, context=given))
    np.testing.assert_allclose(decision, plain(by_attention, x), rtol=1e-4, atol=1e-6)


def test_images_are_mixed_over_all_their_positions():
    x = np.random.default_rng(0).normal(size=(2, 2, 3, 6)).astype("float32")
    router = SimilarityAware(k=2, num_experts=4)
    flat = array(router(x.reshape(2, 6, 6)).probabilities)
    np.testing.assert_allclose(array(router(x).probabilities), flat, rtol=1e-5)


def test_it_refuses_what_it_cannot_use(x):
    with pytest.raises(ValueError, match="needs `x` of shape"):
        SimilarityAware(k=1, num_experts=4)(x[0])
    with pytest.raises(ValueError, match="needs the attention matrix as `context`"):
        MoE(AttentionAware(k=1), FFNExperts(4, 3))(x)
    with pytest.raises(ValueError, match=r"`temperature` must be greater than 0. Received: 0"):
        SimilarityAware(temperature=0)
