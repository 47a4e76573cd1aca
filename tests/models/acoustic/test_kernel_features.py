from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from moe_apps.models.acoustic.kernel_features import KernelFeatures


@pytest.mark.parametrize("units", [12, 30])  # all examples, and more than there are
def test_products_are_the_kernel(units: int) -> None:
    x = np.random.default_rng(0).normal(size=(12, 8)).astype("float32")
    layer = KernelFeatures(units)
    layer.adapt(x)
    found = np.asarray(layer(x))
    np.testing.assert_allclose(found @ found.T / units, rbf_kernel(x), atol=5e-3)
    assert not layer.trainable_variables


def test_it_knows_nothing_before_it_has_seen_examples() -> None:
    assert not np.asarray(KernelFeatures(6)(np.ones((2, 3), "float32"))).any()
