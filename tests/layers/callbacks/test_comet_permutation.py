from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import Comet, FFNExperts, MoE
from moe_apps.layers.callbacks import PermutationSearch


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(16, 3)).astype("float32")


def compiled(*routers) -> keras.Model:
    inputs = keras.Input((3,))
    hidden = inputs
    for router in routers:
        hidden = hidden + MoE(router, FFNExperts(3, 2))(hidden)
    model = keras.Model(inputs, hidden)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=not TENSORFLOW)  # JAX must
    return model


def test_it_cools_then_finds_the_nearest_permutation_and_keeps_it(rows):
    router = Comet(k=2, permute=True, sinkhorn_iterations=5, seed=1)
    model = compiled(router)
    start = array(router.permutation_logits)
    seen: list[tuple[float, float]] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            _ = self.model
            settings = (router.settings["temperature"], router.settings["permutation_found"])
            seen.append(tuple(float(array(value)) for value in settings))

    search = PermutationSearch(epochs=3, start=1.0, end=0.04)
    model.fit(rows, -rows, batch_size=8, epochs=4, verbose=0, callbacks=[search, Watch()])
    np.testing.assert_allclose([t for t, _ in seen], [1, 0.2, 0.04, 0.04], rtol=1e-5)
    assert [found for _, found in seen] == [0, 0, 1, 1]
    hard = array(router.permutation)
    assert set(np.unique(hard)) == {0, 1}
    assert (hard.sum(axis=-1) == 1).all() and (hard.sum(axis=-2) == 1).all()
    assert (array(router.permutation_logits) != start).any()  # they were trained until then
    model.fit(rows, -rows, epochs=1, verbose=0, callbacks=[search])
    np.testing.assert_array_equal(array(router.permutation), hard)


def test_the_permutation_is_the_assignment_of_greatest_sum(rows):
    router = Comet(k=1, permute=True, sinkhorn_iterations=5)
    model = compiled(router)
    # Row by row the best column would be 0, 0, 1; together 1, 0, 2 is best (0.8 + 0.9 + 0.4).
    soft = np.array([[[0.9, 0.8, 0.1], [0.9, 0.1, 0.1], [0.1, 0.5, 0.4]]])
    router.permutation_logits.assign(20 * soft)
    search = PermutationSearch()
    search.set_model(model)
    search.on_train_end()
    np.testing.assert_array_equal(array(router.permutation)[0].argmax(axis=-1), [1, 0, 2])


def test_training_that_ends_early_ends_the_search(rows):
    router = Comet(k=1, permute=True, sinkhorn_iterations=5)
    model = compiled(router)
    model.fit(rows, rows, epochs=1, verbose=0, callbacks=[PermutationSearch(epochs=5)])
    assert array(router.settings["permutation_found"]) == 1
    assert array(router.permutation).sum() == 3


def test_a_model_without_permutations_is_refused(rows):
    model = compiled(Comet(k=1))
    with pytest.raises(ValueError, match=r"No router of the model is a `Comet\(permute=True\)`"):
        model.fit(rows, rows, verbose=0, callbacks=[PermutationSearch()])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, r"`epochs` must be at least 1\. Received: 0"),
        ({"start": 0.1, "end": 0.2}, "`end` must be greater than 0 and at most `start`"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PermutationSearch(**settings)
