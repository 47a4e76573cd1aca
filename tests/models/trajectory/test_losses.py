from __future__ import annotations

import numpy as np
import pytest
from keras import ops
from scipy.stats import multivariate_normal

from keras_modes import array
from moe_apps.models.trajectory import losses


def test_uncertainty_weighting_by_hand():
    layer = losses.UncertaintyWeighting()
    layer.build()
    layer.log_variance.assign([0.5, -1.0, 2.0])
    expected = (
        0.5 * np.exp(-0.5) * 3 + 0.5 * np.exp(1.0) * 4 + np.exp(-2.0) * 5 + 0.5 * (0.5 - 1.0 + 2.0)
    )
    assert float(layer(ops.array([3.0, 4.0, 5.0]))) == pytest.approx(expected, rel=1e-5)


def test_log_variances_are_bounded():
    layer = losses.UncertaintyWeighting()
    layer.build()
    layer.log_variance.assign([-50.0, 50.0, 0.0])
    expected = 0.5 * np.exp(6.0) + 0.5 * np.exp(-6.0) + 1.0
    assert float(layer(ops.array([1.0, 1.0, 1.0]))) == pytest.approx(expected, rel=1e-5)


def test_the_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    error = rng.normal(size=(4, 2)).astype("float32")
    deviation = rng.uniform(0.5, 3, (4, 2)).astype("float32")
    correlation = rng.uniform(-0.9, 0.9, 4).astype("float32")
    found = array(losses.gaussian_nll(error, deviation, correlation))
    for row in range(4):
        sx, sy = deviation[row]
        between = correlation[row] * sx * sy
        density = multivariate_normal([0, 0], [[sx**2, between], [between, sy**2]])
        assert found[row] == pytest.approx(-density.logpdf(error[row]), abs=1e-4)


def test_modes_count_by_the_true_intention_or_by_probability_where_it_is_unknown():
    probability = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]], "float32")
    weights = array(losses.mode_weights(np.array([1, -1]), probability, modes=3))
    np.testing.assert_allclose(weights, [[0, 1, 0], [0.2, 0.5, 0.3]])
    alone = array(losses.mode_weights(np.array([1, -1]), probability, modes=1))
    np.testing.assert_allclose(alone, [[1], [1]])


def test_cross_entropy_leaves_out_unknown_intentions():
    logits = np.array([[2.0, 0.0, 0.0], [9.0, 9.0, -9.0]], "float32")
    alone = -np.log(np.exp(2) / (np.exp(2) + 2))
    found = losses.cross_entropy(np.array([0, -1]), logits)
    assert float(found) == pytest.approx(alone, rel=1e-5)
    assert float(losses.cross_entropy(np.array([-1, -1]), logits)) == 0.0
