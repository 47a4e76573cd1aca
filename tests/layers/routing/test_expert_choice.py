from __future__ import annotations

import numpy as np
import pytest

from keras_modes import QUICKEST, TENSORFLOW, array, in_mode
from moe_apps.layers import ExpertChoice, FFNExperts, MoE


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(3, 8, 6)).astype("float32")


def test_experts_take_their_most_probable_tokens():
    # Two examples of three tokens, two experts; one slot of each expert in each example.
    p = np.array([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0.7, 0.3], [0.3, 0.7], [0.4, 0.6]]])
    router = ExpertChoice(2 / 3, num_experts=2, kernel_initializer="identity")
    decision = router(np.log(p).astype("float32"))
    np.testing.assert_array_equal(array(decision.indices), [[0, 3], [2, 4]])
    np.testing.assert_allclose(array(decision.weights), [[0.9, 0.7], [0.8, 0.7]], rtol=1e-5)
    np.testing.assert_allclose(array(decision.statistics["load"]), [0.5, 0.5])
    np.testing.assert_allclose(array(decision.statistics["active_experts"]), 4 / 6, rtol=1e-6)


def test_over_the_batch_all_tokens_compete():
    p = np.array([[[0.9, 0.1], [0.8, 0.2]], [[0.3, 0.7], [0.4, 0.6]]])
    router = ExpertChoice(1.0, "batch", num_experts=2, kernel_initializer="identity")
    decision = router(np.log(p).astype("float32"))
    np.testing.assert_array_equal(array(decision.indices), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    "factor, group, slots", [(1.0, "example", 2), (1.2, "example", 3), (1.2, "batch", 8)]
)
def test_every_expert_takes_exactly_its_slots(x, factor, group, slots):
    decision = ExpertChoice(factor, group, num_experts=4)(x)
    indices = array(decision.indices)
    assert indices.shape == (4, 3 * slots if group == "example" else slots)
    assert all(len(set(row)) == len(row) for row in indices)  # no token twice
    assert decision.kind == "expert" and indices.dtype == np.int32
    np.testing.assert_allclose(array(decision.statistics["load"]), 0.25)
    if group == "example":
        for example in range(3):
            own = indices[:, example * slots : (example + 1) * slots]
            assert (own // 8 == example).all()


def test_with_a_slot_for_every_token_it_is_the_dense_mixture(x):
    layer = MoE(ExpertChoice(capacity_factor=9.0), FFNExperts(4, 5))  # no more slots than tokens
    y, routing = layer(x, return_routing=True)
    outputs = array(layer.experts(x.reshape(1, 24, 6)))
    expected = np.einsum("ne,eno->no", array(routing["probabilities"]).reshape(24, 4), outputs)
    np.testing.assert_allclose(array(y), expected.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_a_token_that_nobody_takes_gets_nothing(x):
    layer = MoE(ExpertChoice(capacity_factor=0.5), FFNExperts(4, 5))
    y, routing = layer(x, return_routing=True)
    untaken = ~array(routing["weights"]).any(axis=-1)
    assert untaken.any() and not untaken.all()
    assert not array(y)[untaken].any() and array(y)[~untaken].any()


def test_padding_is_taken_last_and_weighs_nothing(x):
    mask = np.arange(8) < np.array([[5], [1], [0]])
    decision = ExpertChoice(1.0, num_experts=4)(x, mask=mask)  # two slots a group
    indices, weights = array(decision.indices), array(decision.weights)
    real = mask.ravel()[indices]
    np.testing.assert_array_equal(weights > 0, real)
    np.testing.assert_array_equal(real.reshape(4, 3, 2).sum(axis=-1), [[2, 1, 0]] * 4)
    np.testing.assert_allclose(array(decision.statistics["active_experts"]), 12 / 6, rtol=1e-6)


def test_an_example_is_routed_by_itself_alone_unless_the_batch_competes(x):
    def weights(group: str, x: np.ndarray) -> np.ndarray:
        router = ExpertChoice(1.0, group, num_experts=4, kernel_initializer="identity")
        router.build(x.shape)
        return in_mode(lambda x: router(x).weight_of_expert(), QUICKEST)(x)

    x = x[..., :4]
    np.testing.assert_allclose(weights("example", x)[8:16], weights("example", x[1:2]), rtol=1e-5)
    assert (weights("batch", x)[8:16] != weights("batch", x[1:2])).any()


@pytest.mark.skipif(not TENSORFLOW, reason="shapes are static on JAX")
@pytest.mark.parametrize("group", ["example", "batch"])
def test_batch_and_time_may_be_unknown(x, group):
    import tensorflow as tf

    router = ExpertChoice(1.0, group, num_experts=4)
    router.build(x.shape)
    for compiled in (False, True):
        run = tf.function(lambda x: router(x)[:2], autograph=False, jit_compile=compiled)
        run = run.get_concrete_function(tf.TensorSpec((None, None, 6), "float32"))
        for length in (8, 5):
            given = tf.constant(x[:, :length])
            for one, two in zip(run(given), router(given)[:2], strict=True):
                np.testing.assert_allclose(array(one), array(two), rtol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"capacity_factor": 0}, "`capacity_factor` must be greater than 0. Received: 0"),
        ({"group": "time"}, '`group` must be "example" or "batch". Received: \'time\''),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ExpertChoice(**settings)


def test_rows_without_an_example_are_refused(x):
    with pytest.raises(ValueError, match=r"must be `\(batch, ..., features\)`. Received 2 axes"):
        ExpertChoice(num_experts=4)(x[0])
