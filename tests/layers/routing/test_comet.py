from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import Comet, FFNExperts, MoE, RouterInputs
from moe_apps.layers.routing.comet import sinkhorn


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(30, 6)).astype("float32")


def inputs_of(rows: np.ndarray) -> RouterInputs:
    return RouterInputs(rows, None, (len(rows),), None, None, False)


@pytest.mark.parametrize("num_experts", [2, 3, 4, 6])
@pytest.mark.parametrize("permute", [False, True])
def test_the_gate_is_a_distribution_for_every_number_of_experts(rows, num_experts, permute):
    weights = array(Comet(k=3, num_experts=num_experts, permute=permute)(rows).weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (weights > 0).all()


def test_a_tree_of_three():
    router = Comet(k=1, num_experts=3)
    router.build((None, 2))
    router.kernel.assign(np.eye(2))
    # Split 1 has the leaf 3 on its right (expert 0 is leaf 3, 1 is 4, 2 is 5): node 2 is a split.
    z = np.array([[0.0, 0.5]], "float32")  # the root is undecided, node 2 goes left
    # Children of the root: 2 (left, a split with the leaves 4 and 5) and 3 (right, a leaf).
    np.testing.assert_allclose(array(router.selectors(z)), [[[0.5, 0.5, 0]]], atol=1e-6)


def test_the_gate_is_one_softmax_over_trees_and_leaves(rows):
    router = Comet(k=2, num_experts=4)
    router.build(rows.shape)
    router.kernel.assign(20 * array(router.kernel))
    shares = array(router.selectors(rows @ array(router.kernel)))
    preference = (rows @ array(router.preference_kernel)).reshape(30, 2, 4)
    powers = shares * np.exp(preference)
    expected = (powers / powers.sum(axis=(1, 2), keepdims=True)).sum(axis=1)
    np.testing.assert_allclose(array(router(rows).probabilities), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_experts", [4, 6])
def test_certain_trees_choose_at_most_k(rows, num_experts):
    layer = MoE(Comet(k=2), FFNExperts(num_experts, 5))
    layer.build(rows.shape)
    layer.router.kernel.assign(1e5 * array(layer.router.kernel))
    weights = array(layer.router(rows).weights)
    assert not weights[:, 2:].any()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    result = step(layer, rows)
    assert all(np.isfinite(g).all() for g in result.gradients)
    assert any(np.abs(g).max() > 1e-4 for g in result.gradients[:2])


def test_far_apart_preferences_stay_finite(rows):
    router = Comet(k=2, num_experts=4)
    router.build(rows.shape)
    router.kernel.assign(1e5 * array(router.kernel))
    router.preference_kernel.assign(1e4 * array(router.preference_kernel))
    np.testing.assert_allclose(array(router(rows).weights).sum(axis=1), 1, rtol=1e-5)


def test_sinkhorn_comes_near_a_doubly_stochastic_matrix():
    logits = np.random.default_rng(0).normal(size=(2, 5, 5)).astype("float32")
    matrix = array(sinkhorn(logits, 50))
    np.testing.assert_allclose(matrix.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(matrix.sum(axis=-2), 1, rtol=1e-3)


def test_a_found_permutation_moves_experts_to_its_places(rows):
    router = Comet(k=1, num_experts=4, permute=True)
    router.build(rows.shape)
    leaves = array(router.leaf_weights(rows @ array(router.kernel), inputs_of(rows)))[:, 0]
    order = [2, 0, 3, 1]  # leaf i holds expert order[i]
    router.permutation.assign(np.eye(4)[order][None])
    router.settings["permutation_found"].assign(1)
    np.testing.assert_allclose(array(router(rows).probabilities)[:, order], leaves, rtol=1e-5)
    still, noisy = router(rows), router(rows, training=True)
    np.testing.assert_array_equal(array(still.weights), array(noisy.weights))


def test_the_search_is_noisy_in_training_and_gets_a_gradient(rows):
    layer = MoE(Comet(k=2, permute=True, seed=1), FFNExperts(4, 5))
    router = layer.router
    layer.build(rows.shape)
    router.preference_kernel.assign(5 * array(router.preference_kernel))
    still, again = (array(router(rows).probabilities) for _ in range(2))
    noisy = array(router(rows, training=True).probabilities)
    np.testing.assert_array_equal(still, again)
    assert np.abs(noisy - still).max() > 1e-3
    names = [variable.name for variable in layer.trainable_variables]
    gradient = step(layer, rows, training=False).gradients[names.index("permutation_logits")]
    assert np.abs(gradient).max() > 1e-6


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="`sinkhorn_iterations` must be at least 1"):
        Comet(sinkhorn_iterations=0)
