from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import FFNExperts, MoE, Thor
from moe_apps.layers.routing import consistency_loss


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(2, 8, 6)).astype("float32")


def experts(router: Thor, x: np.ndarray, **arguments) -> np.ndarray:
    return array(router(x, **arguments).indices)[:, 0]


def test_a_training_call_has_one_expert_and_all_come_up(x):
    router = Thor(num_experts=3, seed=1)
    drawn = [experts(router, x, training=True) for _ in range(30)]
    assert all((call == call[0]).all() for call in drawn)
    assert {int(call[0]) for call in drawn} == {0, 1, 2}
    again = Thor(num_experts=3, seed=1)
    assert [int(experts(again, x, training=True)[0]) for _ in range(5)] == [
        int(call[0]) for call in drawn[:5]
    ]


def test_inference_depends_on_the_position_alone(x):
    router = Thor(num_experts=4)
    chosen = experts(router, x).reshape(2, 8)
    np.testing.assert_array_equal(chosen[0], chosen[1])
    np.testing.assert_array_equal(experts(router, -x[:1, :5]), chosen[0, :5])
    np.testing.assert_array_equal(experts(Thor(num_experts=4), x), chosen.ravel())
    assert (experts(Thor(num_experts=4, seed=5), x) != chosen.ravel()).any()


def test_over_the_positions_experts_serve_equally(x):
    long = np.zeros((1, 4 * 100, 2), "float32")
    chosen = experts(Thor(num_experts=4), long)
    np.testing.assert_array_equal(np.bincount(chosen), [100] * 4)
    assert (chosen[:4] != chosen[4:8]).any() or (chosen[:4] != chosen[8:12]).any()


def test_an_input_without_positions_has_one_expert(x):
    assert len(set(experts(Thor(num_experts=4), x[0]))) == 1


def test_it_has_nothing_to_train_and_full_weight(x):
    layer = MoE(Thor(), FFNExperts(3, 5))
    outputs = array(layer(x))
    everyone = array(layer.experts(x.reshape(1, 16, 6)))
    chosen = experts(layer.router, x)
    expected = everyone[chosen, np.arange(16)].reshape(x.shape)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert not layer.router.trainable_variables


def test_consistency_is_the_mean_of_both_divergences():
    draw = np.random.default_rng(0).normal
    one, two = draw(size=(2, 3, 5)).astype("float32"), draw(size=(2, 3, 5)).astype("float32")
    p, q = (np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True) for z in (one, two))
    forward, back = (p * np.log(p / q)).sum(axis=-1), (q * np.log(q / p)).sum(axis=-1)
    expected = (forward + back) / 2
    loss = array(consistency_loss(one, two))
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(loss, array(consistency_loss(two, one)), rtol=1e-6)
    assert loss > 0 and array(consistency_loss(one, one)) == 0
    mask = np.array([[True, False, False], [True, True, False]])
    np.testing.assert_allclose(
        array(consistency_loss(one, two, mask)), expected[mask].mean(), rtol=1e-5
    )
