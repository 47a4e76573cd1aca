from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MoE, TopP

EXPERTS = 6


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(200, EXPERTS)).astype("float32") * 2


def router(**settings) -> TopP:
    """A router whose logits are its inputs."""
    return TopP(**{"num_experts": EXPERTS, "kernel_initializer": "identity", **settings})


def active(decision) -> np.ndarray:
    return (array(decision.weights) > 0).sum(axis=-1)


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.9])
def test_the_chosen_pass_the_threshold_and_none_is_too_many(rows, threshold):
    decision = router(threshold=threshold)(rows)
    weights, count = array(decision.weights), active(decision)
    mass = weights.sum(axis=-1)
    assert (mass > threshold).all()
    smallest = np.take_along_axis(weights, count[:, None] - 1, axis=-1)[:, 0]
    assert (mass - smallest <= threshold + 1e-6).all()
    p = np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True)
    expected = np.where(weights > 0, -np.sort(-p), 0)  # raw, the best first
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    np.testing.assert_allclose(array(decision.statistics["active_experts"]), count.mean())


def test_the_number_grows_with_the_threshold_and_is_never_zero(rows):
    layer, counts = router(), []
    layer.build(rows.shape)
    for threshold in (0.0, 0.2, 0.5, 0.8, 1.0):
        layer.settings["threshold"].assign(threshold)
        counts.append(active(layer(rows)))
    assert (np.diff(counts, axis=0) >= 0).all()
    assert (counts[0] == 1).all() and (counts[-1] == EXPERTS).all()
    assert len(set(counts[2])) > 1  # tokens differ


def test_a_flat_distribution_needs_its_share_of_the_experts():
    layer = router(num_experts=10)
    layer.build((None, 10))
    for threshold, count in ((0.35, 4), (0.55, 6), (0.05, 1)):
        layer.settings["threshold"].assign(threshold)
        assert active(layer(np.zeros((3, 10), "float32"))).tolist() == [count] * 3


def test_k_max_bounds_the_number(rows):
    bounded, free = router(threshold=0.9, k_max=2)(rows), router(threshold=0.9)(rows)
    assert tuple(bounded.indices.shape) == (200, 2)
    np.testing.assert_array_equal(active(bounded), np.minimum(active(free), 2))
    np.testing.assert_allclose(array(bounded.weights), array(free.weights)[:, :2], rtol=1e-6)


def test_entropy_loss_is_the_mean_entropy_of_real_tokens(rows):
    decision = router(entropy_loss_weight=0.5)(rows, mask=ops.arange(200) < 50)
    p = array(decision.probabilities)[:50]
    expected = 0.5 * -(p * np.log(p)).sum(axis=-1).mean()
    np.testing.assert_allclose(array(decision.losses["entropy"]), expected, rtol=1e-5)


def test_entropy_loss_makes_the_router_surer(rows):
    layer = MoE(
        TopP(entropy_loss_weight=1.0, balance_loss_weight=0.0),
        FFNExperts(4, 5, kernel_initializer="zeros"),  # no gradient of the outputs
    )
    gradient = step(layer, rows).gradients[0]
    before = float(layer.router(rows).statistics["entropy"])
    layer.router.kernel.assign(array(layer.router.kernel) - 0.1 * gradient)
    assert float(layer.router(rows).statistics["entropy"]) < before


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"threshold": 1.5}, r"`threshold` must be in \[0, 1\]\. Received: 1\.5"),
        ({"k_max": 0}, r"`k_max` must be at least 1\. Received: 0"),
        ({"k_max": 7}, "`k_max` is 7, but there are only 6 experts"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        router(**settings)(rows)
