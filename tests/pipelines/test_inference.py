"""Calls in batches of one shape."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from moe_apps.pipelines.inference import in_batches


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


@pytest.mark.parametrize("count", [1, 4, 9])
def test_nested_inputs_and_outputs_row_by_row(model, count):
    sizes = []

    def answer(inputs, scale):
        sizes.append(inputs["x"].shape)
        y = model(inputs["x"])
        return {"y": y if scale is None else y * scale, "first": y[:, 0]}

    x = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
    call = in_batches(model, answer, batch_size=4)
    expected = x @ np.asarray(model.layers[0].kernel)
    plain = call({"x": x}, None)
    np.testing.assert_allclose(plain["y"], expected, rtol=1e-5)
    np.testing.assert_allclose(plain["first"], expected[:, 0], rtol=1e-5)
    scaled = call({"x": x}, np.arange(count, dtype="float32")[:, None])["y"]
    np.testing.assert_allclose(scaled, expected * np.arange(count)[:, None], rtol=1e-5)
    assert set(sizes) == {(4, 3)}


def test_later_weights_are_used(model):
    call = in_batches(model, model, 4)
    x = np.ones((2, 3), "float32")
    before = call(x)
    model.layers[0].kernel.assign(2 * np.asarray(model.layers[0].kernel))
    np.testing.assert_allclose(call(x), 2 * before, rtol=1e-5)
