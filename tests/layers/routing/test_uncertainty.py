from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import array
from moe_apps.layers import RouterInputs, UncertaintyAware


@pytest.fixture
def rows() -> np.ndarray:
    keras.utils.set_random_seed(0)  # for the weights
    return np.random.default_rng(0).normal(size=(6, 8)).astype("float32")


def logits(router: UncertaintyAware, rows: np.ndarray, training: bool) -> np.ndarray:
    inputs = RouterInputs(
        ops.convert_to_tensor(rows), None, (len(rows),), None, None, training=training
    )
    return array(router.score(inputs))


def test_inference_has_no_noise_and_is_the_limit_of_many_passes(rows):
    few = UncertaintyAware(passes=2, rate=0.5, num_experts=4, seed=1)
    many = UncertaintyAware(passes=400, rate=0.5, num_experts=4, seed=1)
    for router in (few, many):
        router.build(rows.shape)
    many.set_weights(few.get_weights())
    still = logits(few, rows, training=False)
    np.testing.assert_array_equal(still, logits(few, rows, training=False))
    noisy = logits(many, rows, training=True)
    np.testing.assert_allclose(noisy, still, atol=0.2)
    np.testing.assert_allclose((noisy * still).sum() / (still**2).sum(), 1, atol=0.05)


def test_inference_by_hand():
    router = UncertaintyAware(rate=0.5, k=1, num_experts=2)
    router.build((None, 2))
    router.kernel.assign([[3.0, 1.0], [0.0, 2.0]])
    # Half of the features survive, doubled: the variance is the sum of the squared terms.
    given = logits(router, np.ones((1, 2), "float32"), training=False)
    np.testing.assert_allclose(given, [[3 / np.sqrt(1 + 9), 3 / np.sqrt(1 + 5)]], rtol=1e-5)


def test_equal_means_with_more_variance_give_flatter_weights():
    router = UncertaintyAware(rate=0.2, k=2, num_experts=2)
    router.build((None, 4))
    router.kernel.assign([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    # The same sum, from equal features or from ones that nearly cancel.
    calm, wild = np.array([[0.5, 0.5, 0.5, 0.5]]), np.array([[9.0, -8.0, 5.0, -4.0]])
    certain, unsure = (array(router(row.astype("float32")).weights)[0] for row in (calm, wild))
    np.testing.assert_allclose([certain.sum(), unsure.sum()], 1, rtol=1e-5)
    assert certain[0] > 0.8 > unsure[0] > 0.5


def test_training_is_noisy_seeded_and_on_the_simplex(rows):
    def routed(seed: int) -> np.ndarray:
        router = UncertaintyAware(num_experts=4, seed=seed, kernel_initializer="identity")
        return array(router(rows, training=True).probabilities)

    np.testing.assert_array_equal(routed(1), routed(1))
    assert (routed(1) != routed(2)).any()
    np.testing.assert_allclose(routed(1).sum(axis=1), 1, rtol=1e-5)


def test_passes_differ_from_each_other(rows):
    """With equal passes the variance would be 0 and the logits those of one pass."""
    router = UncertaintyAware(passes=2, rate=0.5, num_experts=4, seed=1)
    router.build(rows.shape)
    first, second = (logits(router, 5 * rows, training=True) for _ in range(2))
    assert (first != second).any()
    plain = 5 * rows @ array(router.kernel)
    assert np.abs(first).mean() < 0.7 * np.abs(plain).mean()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"passes": 1}, "`passes` must be at least 2. Received: 1"),
        ({"rate": 0.0}, r"`rate` must be in \(0, 1\). Received: 0.0"),
        ({"rate": 1.0}, r"`rate` must be in \(0, 1\). Received: 1.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        UncertaintyAware(**settings)
