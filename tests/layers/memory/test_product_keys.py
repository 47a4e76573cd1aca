from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, in_mode
from moe_apps.layers import product_key_top_k


@pytest.mark.parametrize("n, m, k", [(64, 64, 8), (5, 9, 7), (3, 4, 12), (1, 6, 2)])
def test_it_is_the_exhaustive_top_k(n, m, k, mode):
    draw = np.random.default_rng(0).normal
    first, second = draw(size=(20, 2, n)), draw(size=(20, 2, m))
    first, second = first.astype("float32"), second.astype("float32")
    values, indices = in_mode(lambda a, b: product_key_top_k(a, b, k), mode)(first, second)
    sums = (first[..., :, None] + second[..., None, :]).reshape(20, 2, n * m)
    expected = np.argsort(-sums, axis=-1)[..., :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(values, np.take_along_axis(sums, expected, axis=-1), rtol=1e-6)


def test_by_hand():
    first, second = np.array([0.0, 5.0, 4.0], "float32"), np.array([1.0, 0.5], "float32")
    values, indices = product_key_top_k(first, second, 3)
    assert array(indices).tolist() == [2, 3, 4]
    np.testing.assert_allclose(array(values), [6.0, 5.5, 5.0])


@pytest.mark.parametrize("k", [0, 13])
def test_k_must_be_possible(k):
    with pytest.raises(ValueError, match=rf"`k` must be in \[1, 12\].*Received: k={k}"):
        product_key_top_k(np.zeros(3, "float32"), np.zeros(4, "float32"), k)
