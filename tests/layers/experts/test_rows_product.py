from __future__ import annotations

import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers.experts.rows_product import FEW_ROWS, rows_product

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="elsewhere it is the plain product")


def gradients(rows: np.ndarray, kernel: np.ndarray, traced: bool) -> list[np.ndarray]:
    import tensorflow as tf

    def run(rows, kernel):
        with tf.GradientTape() as tape:
            tape.watch((rows, kernel))
            outputs = rows_product(rows, kernel)
            loss = tf.reduce_sum(outputs**2)
        return outputs, *tape.gradient(loss, (rows, kernel))

    if traced:  # the number of rows is seen at run time only
        unknown = tf.TensorSpec((None, rows.shape[1]), "float32")
        run = tf.function(run, [unknown, tf.TensorSpec(kernel.shape)], autograph=False)
    return [array(value) for value in run(tf.constant(rows), tf.constant(kernel))]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("count", [0, 1, FEW_ROWS - 1, FEW_ROWS])
def test_few_rows_and_many_have_the_gradient_of_the_product(count, traced):
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, 6)).astype("float32")
    kernel = random.normal(size=(6, 4)).astype("float32")
    outputs, to_rows, to_kernel = gradients(rows, kernel, traced)
    np.testing.assert_allclose(outputs, rows @ kernel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_rows, 2 * outputs @ kernel.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(to_kernel, 2 * rows.T @ outputs, rtol=1e-4, atol=1e-3)
