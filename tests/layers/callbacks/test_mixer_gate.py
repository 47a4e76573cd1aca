from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import TENSORFLOW, array
from moe_apps.layers import FFNExperts, MixER, MoE, TopK
from moe_apps.layers.callbacks import MixERGateUpdate
from moe_apps.layers.callbacks.mixer_gate import k_means, match

CENTRES = np.array([[4.0, 0.0], [-4.0, 4.0], [0.0, -4.0]])


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, contexts about three centres, and the centre of each."""
    random = np.random.default_rng(0)
    centre = np.arange(30) % 3
    contexts = CENTRES[centre] + 0.2 * random.normal(size=(30, 2))
    return random.normal(size=(30, 4)).astype("float32"), contexts.astype("float32"), centre


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    x, context = keras.Input((4,)), keras.Input((2,))
    layer = MoE(MixER(context_dim=2), FFNExperts(3, 5, output_dim=1), name="moe")
    model = keras.Model([x, context], layer(x, context=context))
    model.compile("sgd", "mse", jit_compile=not TENSORFLOW)
    return model


def gate_of(model: keras.Model) -> np.ndarray:
    return array(model.get_layer("moe").router.kernel)


def test_each_cluster_gets_the_expert_that_serves_it_best(data):
    x, contexts, centre = data
    model = network()
    # Expert e answers 10 e whatever the input; targets want experts 2, 0, 1 of the centres.
    bank = model.get_layer("moe").experts
    bank.stacked_weights[1].assign(np.zeros((3, 5, 1)))
    bank.stacked_weights[3].assign(np.arange(3).reshape(3, 1, 1) * 10.0)
    wanted = np.array([2, 0, 1])[centre]
    targets = 10.0 * wanted[:, None].astype("float32")
    model.optimizer.learning_rate = 0.0
    callback = MixERGateUpdate([x, contexts], targets)
    model.fit([x, contexts], targets, epochs=2, verbose=0, callbacks=[callback])
    router = model.get_layer("moe").router
    chosen = array(router(x, context=contexts).indices)[:, 0]
    np.testing.assert_array_equal(chosen, wanted)
    np.testing.assert_allclose(model.predict([x, contexts], verbose=0), targets, atol=1e-4)
    # W is the least-squares fit of the assignment.
    rows = np.concatenate([contexts, np.ones((30, 1))], axis=1)
    fit = np.linalg.lstsq(rows, np.eye(3)[wanted], rcond=None)[0]
    np.testing.assert_allclose(gate_of(model), fit, atol=1e-3)


def test_experts_train_on_and_the_gate_is_taken_up_by_the_next_epoch(data):
    x, contexts, centre = data
    targets = centre[:, None].astype("float32")
    model = network()
    before = array(model.get_layer("moe").experts.stacked_weights[0])
    callback = MixERGateUpdate([x, contexts], targets, every=2)
    model.fit([x, contexts], targets, epochs=3, verbose=0, callbacks=[callback])
    assert (array(model.get_layer("moe").experts.stacked_weights[0]) != before).any()
    chosen = array(model.get_layer("moe").router(x, context=contexts).indices)[:, 0]
    assert len({(c, e) for c, e in zip(centre, chosen, strict=True)}) == 3  # a bijection
    assert len(set(chosen)) == 3


def test_a_failed_clustering_leaves_the_gate_as_it_is(data):
    x, contexts, _ = data
    targets = np.zeros((30, 1), "float32")
    for given, settings in (
        (np.ones_like(contexts), {}),  # fewer contexts than experts
        (contexts, {"max_iterations": 1, "tolerance": 1e-9}),  # not settled
    ):
        model = network()
        before = gate_of(model)
        callback = MixERGateUpdate([x, given], targets, **settings)
        model.fit([x, given], targets, verbose=0, callbacks=[callback])
        np.testing.assert_array_equal(gate_of(model), before)


def test_k_means_finds_separated_clusters_and_says_when_it_does_not(data):
    _, contexts, centre = data
    centroids, cluster = k_means(contexts, contexts[[0, 1, 2]], 20, 1e-3)
    np.testing.assert_array_equal(cluster, centre)
    np.testing.assert_allclose(centroids, CENTRES, atol=0.3)
    far = np.concatenate([contexts[:2], [[99.0, 99.0]]])
    assert k_means(contexts, far, 20, 1e-3) is None  # one cluster stays empty
    assert k_means(contexts, contexts[:3], 1, 1e-9) is None


def test_distance_is_absolute_not_squared():
    # From (3, 0) it is 3 to the first and 1.8 + 1.8 to the other; squared, 9 and 6.48.
    points = np.array([[3.0, 0.0], [0.0, 0.0], [4.8, 1.8]])
    _, cluster = k_means(points, np.array([[0.0, 0.0], [4.8, 1.8]]), 1, 10.0)
    np.testing.assert_array_equal(cluster, [0, 0, 1])


def test_matching_takes_the_lowest_loss_first():
    losses = np.array([[1.0, 0.5, 9.0], [0.1, 0.2, 9.0], [0.3, 0.4, 7.0]])
    np.testing.assert_array_equal(match(losses), [2, 0, 1])


def test_bad_settings_and_models_are_named(data):
    x = data[0]
    for settings, message in (
        ({"every": 0}, "`every` must be at least 1. Received: 0"),
        ({"max_iterations": 0}, "`max_iterations` must be at least 1. Received: 0"),
        ({"tolerance": 0}, "`tolerance` must be greater than 0. Received: 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MixERGateUpdate(x, x, **settings)
    model = keras.Sequential([MoE(TopK(1), FFNExperts(2, 3))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="needs a model with a `MixER` router"):
        model.fit(x, x, verbose=0, callbacks=[MixERGateUpdate(x, x)])
