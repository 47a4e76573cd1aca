from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, in_mode, step
from moe_apps.layers import FFNExperts, MoE, PrototypeRouter


@pytest.fixture
def x() -> np.ndarray:
    """Tokens near the first three axes of six, of differing length."""
    random = np.random.default_rng(0)
    rows = np.eye(6)[random.integers(0, 3, size=20)]
    rows[:, :3] += random.uniform(0.1, 0.6, size=(20, 3))
    return (rows * random.uniform(0.1, 9, size=(20, 1))).astype("float32")


@pytest.fixture
def router() -> PrototypeRouter:
    """Three experts at three axes, and two spare ones."""
    router = PrototypeRouter(k=2, num_experts=5, spare=2, prototypes_per_expert=2)
    router.build((None, 6))
    prototypes = np.zeros((5, 2, 6))
    for expert in range(3):
        prototypes[expert, :, expert] = 3.0
    router.prototypes.assign(prototypes)
    return router


def decide(router: PrototypeRouter, x: np.ndarray):
    decision = router(x)
    return array(decision.indices), array(decision.weights), array(decision.probabilities)


def test_the_most_similar_directions_are_chosen(x, router):
    indices, weights, _ = decide(router, x)
    cosine = x[:, :3] / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_array_equal(indices, np.argsort(-cosine, axis=1)[:, :2])
    powers = np.exp(-np.sort(-cosine, axis=1)[:, :2] / 0.1)
    np.testing.assert_allclose(weights, powers / powers.sum(axis=1, keepdims=True), rtol=1e-3)
    np.testing.assert_allclose(decide(router, 8 * x)[1], weights, rtol=1e-4)


def test_an_expert_added_far_away_changes_no_other_token_to_the_bit(x, router):
    before = decide(router, x)
    examples = np.eye(6)[5] * np.array([[1.0], [20.0]]) + 0.01
    router.add_prototype(3, examples)
    after = decide(router, x)
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[1], before[1])
    assert (decide(router, examples.astype("float32"))[0][:, 0] == 3).all()


def test_a_removed_expert_gets_nothing_and_can_come_back(x, router):
    chosen = decide(router, x)[0][:, 0] == 0
    router.remove_prototypes(0)
    indices, weights, probabilities = decide(router, x)
    assert not weights[indices == 0].any() and not probabilities[:, 0].any()
    assert weights[chosen].any(axis=1).all()
    router.add_prototype(0, x[chosen])
    assert (decide(router, x)[0][chosen, 0] == 0).all()


def test_the_nearest_of_several_prototypes_counts(x, router):
    router.remove_prototypes(0)
    router.add_prototype(0, np.eye(6)[[4]])
    router.add_prototype(0, np.eye(6)[[5]])
    rows = np.eye(6, dtype="float32")[[4, 5]]
    assert (decide(router, rows)[0][:, 0] == 0).all()
    with pytest.raises(ValueError, match="All 2 prototypes of expert 0 are in use"):
        router.add_prototype(0, rows)


def test_directions_are_averaged_not_lengths(router):
    router.add_prototype(4, np.array([[0, 0, 0, 100.0, 0, 0], [0, 0, 0, 0, 1.0, 0]]))
    expected = np.array([0, 0, 0, 1, 1, 0]) / np.sqrt(2)
    np.testing.assert_allclose(array(router.prototypes)[4, 0], expected, rtol=1e-5)


def test_without_any_expert_in_use_no_token_is_served(x, router):
    for expert in range(3):
        router.remove_prototypes(expert)
    assert not decide(router, x)[1].any()


def test_a_compiled_function_sees_experts_that_were_added_later(x, router, mode):
    layer = MoE(router, FFNExperts(5, 3))
    layer.build(x.shape)
    far = np.eye(6, dtype="float32")[[5]] * np.ones((2, 1), "float32")
    run = in_mode(lambda x: layer.router(x).indices, mode)
    assert (run(far)[:, 0] != 3).all()
    router.add_prototype(3, far)
    assert (in_mode(lambda x: layer.router(x).indices, mode)(far)[:, 0] == 3).all()


def test_the_task_trains_prototypes_unless_they_are_frozen(x, router):
    layer = MoE(router, FFNExperts(5, 3), dispatch="dense")
    x[0] = 0  # no direction: its gradient must be finite all the same
    result = step(layer, x, "eager")
    assert result.gradients[0].any() and np.isfinite(result.input_gradient).all()
    assert PrototypeRouter(trainable=False, num_experts=3, k=1).get_config()["trainable"] is False


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"prototypes_per_expert": 0}, "`prototypes_per_expert` must be .* Received: 0"),
        ({"spare": -1}, "`spare` must be at least 0. Received: -1"),
        ({"temperature": 0}, "`temperature` must be greater than 0. Received: 0"),
        ({"spare": 5, "num_experts": 4}, "`spare` is 5, but there are only 4 experts"),
        ({"k": 5, "num_experts": 4}, "`k` is 5, but there are only 4 experts"),
        ({"num_experts": None}, "does not know its number of experts"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PrototypeRouter(**settings).build((None, 3))
