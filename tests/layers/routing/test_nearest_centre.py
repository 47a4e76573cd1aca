from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import NearestCentre


@pytest.fixture
def blobs() -> np.ndarray:
    """30 rows around each of three directions."""
    centres = 4 * np.eye(5)[:3]
    noise = 0.3 * np.random.default_rng(0).normal(size=(3, 30, 5))
    return (centres[:, None] + noise).reshape(90, 5).astype("float32")


def test_it_goes_to_the_nearest_centre_unweighted(blobs):
    router = NearestCentre(num_experts=3)
    decision = router(blobs)
    centres = array(router.kernel) / np.linalg.norm(array(router.kernel), axis=0)
    scores = blobs @ centres
    np.testing.assert_array_equal(array(decision.indices)[:, 0], scores.argmax(axis=-1))
    powers = np.exp(scores)
    np.testing.assert_allclose(
        array(decision.probabilities), powers / powers.sum(axis=-1, keepdims=True), rtol=1e-4
    )
    assert (array(decision.weights) == 1).all()


def test_one_round_by_hand(blobs):
    router = NearestCentre(num_experts=3, momentum=0.6, rounds=1, min_share=0.0)
    router.build(blobs.shape)
    centres = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 3)))[0].astype("float32")
    router.kernel.assign(centres)
    mask = np.arange(90) % 3 > 0
    router(blobs, mask=mask, training=True)
    x = blobs[mask]
    powers = np.exp(x @ centres)
    shares = powers / powers.sum(axis=-1, keepdims=True)
    moved = 0.6 * centres + 0.4 * (x.T @ shares) / shares.sum(axis=0)
    moved = moved / np.linalg.norm(moved, axis=0)
    np.testing.assert_allclose(array(router.kernel), moved, rtol=1e-4, atol=1e-5)


def test_training_moves_the_centres_to_the_clusters_and_inference_leaves_them(blobs):
    router = NearestCentre(num_experts=3, kernel_initializer="identity")
    router.build(blobs.shape)
    router.kernel.assign(array(router.kernel) + 0.3)
    start = array(router.kernel)
    router(blobs)
    np.testing.assert_array_equal(array(router.kernel), start)
    for _ in range(10):
        decision = router(blobs, training=True)
    assert array(router.kernel)[[0, 1, 2], [0, 1, 2]].min() > 0.98  # cosine with each direction
    np.testing.assert_allclose(np.linalg.norm(array(router.kernel), axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(array(decision.indices)[:, 0], np.repeat([0, 1, 2], 30))
    assert not router.trainable_weights


def test_the_new_centres_assign_the_batch_that_moved_them(blobs):
    router = NearestCentre(num_experts=3, momentum=0.0, rounds=5)
    trained = router(blobs, training=True)
    np.testing.assert_array_equal(array(trained.indices), array(router(blobs).indices))


def test_a_deserted_cluster_restarts_at_a_far_row(blobs):
    router = NearestCentre(num_experts=3, min_share=0.05)
    router.build(blobs.shape)
    # Two centres on the first directions; the third lies opposite, where no row ever is.
    centres = np.eye(5)[:, [0, 1, 2]] * [1, 1, -1]
    router.kernel.assign(centres)
    router.share.assign([0.5, 0.5, 0.0])
    decision = router(blobs, training=True)
    assert array(router.kernel)[2, 2] > 0.9
    np.testing.assert_array_equal(array(decision.indices)[:, 0], np.repeat([0, 1, 2], 30))
    np.testing.assert_allclose(array(router.share)[2], 0.9 / 3 + 0.1 / 3, rtol=1e-5)


def test_a_batch_of_padding_moves_nothing(blobs):
    router = NearestCentre(num_experts=3, min_share=0.9)
    router.build(blobs.shape)
    before = array(router.kernel) / np.linalg.norm(array(router.kernel), axis=0)
    router(blobs, mask=np.zeros(90, bool), training=True)
    np.testing.assert_allclose(array(router.kernel), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\)\. Received: 1\.0"),
        ({"rounds": 0}, r"`rounds` must be at least 1\. Received: 0"),
        ({"min_share": -0.1}, r"`min_share` must be in \[0, 1\)\. Received: -0\.1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NearestCentre(num_experts=3, **settings)
