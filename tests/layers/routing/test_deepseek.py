from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import Capacity, DeepSeekGate, FFNExperts, LossFreeTopK, MoE, SwiGLU


def gate(num_experts: int, **settings) -> DeepSeekGate:
    """A gate whose logits are its inputs."""
    router = DeepSeekGate(num_experts=num_experts, kernel_initializer="identity", **settings)
    router.build((None, num_experts))
    return router


def logits_of(scores: list[float]) -> np.ndarray:
    """Inputs that a sigmoid brings to the scores."""
    scores = np.array([scores], "float32")
    return np.log(scores / (1 - scores))


def test_a_group_scores_its_two_best_or_its_best_without_bias():
    x = logits_of([0.9, 0.1, 0.6, 0.5])  # sums 1.0 and 1.1, maxima 0.9 and 0.6
    with_bias = gate(4, k=1, groups=2, renormalize=False)
    assert array(with_bias(x).indices).item() == 2
    without = gate(4, k=1, groups=2, renormalize=False, bias_update_rate=0)
    assert array(without(x).indices).item() == 0


def test_groups_are_chosen_by_biased_scores():
    x = logits_of([0.9, 0.3, 0.6, 0.5])
    router = gate(4, k=1, groups=2, renormalize=False)
    router.bias.assign([0, 0, 0, 0.2])
    decision = router(x)  # 1.2 against 0.6 + 0.7
    assert array(decision.indices).item() == 3
    np.testing.assert_allclose(array(decision.weights), [[0.5]], rtol=1e-5)


def test_experts_come_from_the_kept_groups_alone_even_below_zero():
    x = np.random.default_rng(0).normal(size=(300, 12)).astype("float32")
    router = gate(12, k=4, groups=4, kept_groups=2)
    for bias in (0.0, -3.0):
        router.bias.assign(np.full(12, bias))
        indices = array(router(x).indices)
        scores = (1 / (1 + np.exp(-x))).reshape(300, 4, 3)
        best = np.argsort(-np.sort(scores, axis=-1)[..., 1:].sum(axis=-1))[:, :2]
        assert (indices[..., None] // 3 == best[:, None]).any(axis=-1).all()
        assert all(len(set(row)) == 4 for row in indices)


def test_with_all_groups_kept_it_is_the_plain_router():
    x = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    gated = gate(6, groups=3, kept_groups=3)(x)
    plain = LossFreeTopK(num_experts=6, kernel_initializer="identity")(x)
    np.testing.assert_array_equal(array(gated.indices), array(plain.indices))
    np.testing.assert_allclose(array(gated.weights), array(plain.weights))


@pytest.mark.parametrize("scores, total", [("sigmoid", None), ("softmax", None), ("sigmoid", 2.5)])
def test_weights_are_scaled(scores, total):
    x = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    settings = {"scores": scores, "renormalize": total is not None}
    scaled = array(gate(6, route_scale=2.5, **settings)(x).weights)
    np.testing.assert_allclose(scaled, 2.5 * array(gate(6, **settings)(x).weights), rtol=1e-6)
    if total:
        np.testing.assert_allclose(scaled.sum(axis=-1), total, rtol=1e-5)


def test_the_bias_follows_the_load():
    router = gate(4, k=1, groups=2, renormalize=False)
    router(np.tile(logits_of([0.9, 0.5, 0.3, 0.2]), (3, 1)), training=True)
    np.testing.assert_allclose(array(router.bias), [-1e-3, 1e-3, 1e-3, 1e-3])


def test_the_shared_expert_serves_dropped_tokens_too():
    x = np.random.default_rng(0).normal(size=(1, 8, 6)).astype("float32")
    parts = (DeepSeekGate(), FFNExperts(4, 5))
    shared = SwiGLU(5)
    bare = MoE(*parts, dispatch=Capacity(0.1, 0.1))
    whole = MoE(*parts, shared=shared, dispatch=bare.dispatch)
    routed = array(bare(x))
    assert (~routed.any(axis=-1)).sum() >= 4  # dropped: four slots for eight tokens
    np.testing.assert_allclose(array(whole(x)), routed + array(shared(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kept_groups": 3, "groups": 2}, "Received: kept_groups=3, groups=2"),
        ({"groups": 3}, "4 experts cannot stand in 3 equal groups"),
        ({"groups": 2, "k": 3}, "`k` is 3, but 1 groups have only 2 experts"),
        ({"route_scale": 0}, "`route_scale` must be greater than 0. Received: 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        gate(4, **settings)
