from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import FFNExperts, MoE, ReX, TopK


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 6)).astype("float32")


def group(shared: bool = True) -> keras.Model:
    banks = [FFNExperts(4, 5, name="bank") for _ in range(2)]
    inputs = keras.Input((6,))
    hidden = inputs
    for position in range(2):
        bank = banks[0] if shared else banks[position]
        hidden = hidden + MoE(ReX(position, k=2), bank, name=f"moe_{position}")(hidden)
    return keras.Model(inputs, hidden)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_own_experts_alone_are_routed_as_a_layer_by_itself(rows, position):
    router = ReX(position, group_size=3, pool=2, k=2, num_experts=6)
    alone = TopK(k=2, num_experts=2)
    router.build(rows.shape), alone.build(rows.shape)
    alone.kernel.assign(array(router.kernel)[:, :2])  # own columns stand first
    one, two = router(rows), alone(rows)
    np.testing.assert_array_equal(array(one.indices), array(two.indices) + 2 * position)
    np.testing.assert_allclose(array(one.weights), array(two.weights), rtol=1e-5)
    remote = np.delete(array(one.probabilities), [2 * position, 2 * position + 1], axis=1)
    assert not remote.any()


def test_the_pool_grows_around_the_group(rows):
    router = ReX(1, group_size=3, pool=2, k=2, num_experts=6)
    router.build(rows.shape)
    seen = []
    for pool in (0, 2, 3, 5, 6, 60):
        router.settings["pool"].assign(pool)
        seen.append(np.flatnonzero(array(router(rows).probabilities).any(axis=0)).tolist())
    # Own experts 2 and 3 always, then 4, 5, and round to 0, 1.
    assert seen == [[2, 3], [2, 3], [2, 3, 4], [0, 2, 3, 4, 5], [*range(6)], [*range(6)]]


def test_a_full_pool_is_top_k(rows):
    router, plain = ReX(1, k=2, num_experts=4), TopK(k=2, num_experts=4)
    router.build(rows.shape), plain.build(rows.shape)
    plain.kernel.assign(np.roll(array(router.kernel), 2, axis=1))
    np.testing.assert_array_equal(array(router(rows).indices), array(plain(rows).indices))


def test_a_shared_bank_counts_once():
    bank = 4 * (6 * 5 + 5 + 5 * 6 + 6)
    routers, settings = 2 * 6 * 4, 2
    assert group().count_params() == bank + routers + settings


def test_every_layer_adds_to_the_gradient_of_a_shared_expert(rows):
    together, apart = group(), group(shared=False)
    for position in range(2):
        own, other = (model.get_layer(f"moe_{position}") for model in (together, apart))
        other.set_weights(own.get_weights())
    (shared,), (first, second) = (_bank_gradients(model, rows) for model in (together, apart))
    assert np.abs(first[2:]).max() > 0.1 and np.abs(second[:2]).max() > 0.1  # remote experts
    np.testing.assert_allclose(shared, first + second, rtol=1e-4, atol=1e-5)


def _bank_gradients(model: keras.Model, rows: np.ndarray) -> list[np.ndarray]:
    gradients = step(model, rows, with_losses=False).gradients
    pairs = zip(model.trainable_variables, gradients, strict=True)
    return [gradient for variable, gradient in pairs if variable.name == "kernel_1"]


def test_a_saved_model_still_shares_the_bank(rows, tmp_path):
    model = group()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("moe_0").experts is again.get_layer("moe_1").experts
    assert again.count_params() == model.count_params()
    np.testing.assert_allclose(array(again(rows)), array(model(rows)), rtol=1e-6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"position": 2}, r"`position` must be in \[0, group_size\)"),
        ({"group_size": 3}, "`group_size` must divide the number of experts. Received: 3 for 4"),
        ({"k": 3}, "`k` is 3, but a layer owns only 2 experts"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        ReX(**{"num_experts": 4, **settings})(rows)
