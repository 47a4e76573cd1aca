from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import DynMoLE
from moe_apps.layers.lora import tsallis_entropy


def decide(*probabilities: list[float], **settings):
    """The decision for tokens of these probabilities."""
    p = np.array(probabilities, "float32")
    router = DynMoLE(num_experts=p.shape[1], kernel_initializer="identity", **settings)
    return router(np.log(p))


def weights(*probabilities: list[float], **settings) -> np.ndarray:
    return array(decide(*probabilities, **settings).weight_of_expert())


def test_entropy():
    p = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]], "float32")
    for q in (0.5, 1.1, 2.0):
        expected = (1 - (p**q).sum(axis=-1)) / (q - 1)
        np.testing.assert_allclose(array(tsallis_entropy(p, q)), expected, rtol=1e-4, atol=1e-5)
    shannon = array(tsallis_entropy(p, 1.0))
    np.testing.assert_allclose(shannon[[0, 2]], [0.801819, np.log(3)], rtol=1e-5)
    for q in (0.99, 1.01):
        np.testing.assert_allclose(array(tsallis_entropy(p, q)), shannon, rtol=0.02, atol=1e-4)


def test_unsure_tokens_go_to_all_and_sure_ones_to_the_k_best():
    peaked, even = [0.97, 0.01, 0.01, 0.01], [0.25] * 4
    np.testing.assert_allclose(weights(even), [even], rtol=1e-5)
    np.testing.assert_array_equal((weights(peaked) > 0).sum(axis=-1), [2])
    np.testing.assert_allclose(weights(peaked)[0, 0], 0.97, rtol=1e-5)  # raw, not renormalised


def test_what_crosses_top_p_stays_out():
    row = [0.1, 0.3, 0.4, 0.2]  # best first 0.4, 0.7, 0.9, 1.0
    for top_p, k, expected in (
        (0.75, 1, [0, 0.3, 0.4, 0]),
        (0.95, 1, [0, 0.3, 0.4, 0.2]),
        (0.3, 1, [0, 0, 0.4, 0]),
        (0.3, 3, [0, 0.3, 0.4, 0.2]),
    ):
        given = weights(row, top_p=top_p, k=k, threshold=9.0)
        np.testing.assert_allclose(given, [expected], rtol=1e-5)


def test_the_entropy_rule_comes_before_the_others():
    row = [0.4, 0.3, 0.2, 0.1]  # its Shannon entropy is 1.2799
    assert (weights(row, q=1.0, threshold=1.27, top_p=0.0, k=1) > 0).all()
    assert (weights(row, q=1.0, threshold=1.29, top_p=0.0, k=1) > 0).sum() == 1


def test_losses():
    rows = [0.7, 0.1, 0.1, 0.1], [0.25] * 4
    decision = decide(*rows, entropy_loss_weight=0.5, balance_loss_weight=0.0)
    expected = 0.5 * array(tsallis_entropy(np.array(rows, "float32"), 1.1)).mean()
    assert list(decision.losses) == ["entropy"]
    np.testing.assert_allclose(array(decision.losses["entropy"]), expected, rtol=1e-4)
    assert list(decide(*rows).losses) == ["balance", "entropy"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"top_p": 1.1}, r"`top_p` must be in \[0, 1\]\. Received: 1\.1"),
        ({"k": 0}, r"`k` must be at least 1\. Received: k=0"),
        ({"q": 0}, r"`q` must be positive\. Received: 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        DynMoLE(**settings)
