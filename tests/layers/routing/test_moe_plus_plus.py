from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from keras_modes import array
from moe_apps.layers import CopyExperts, FFNExperts, MixedExperts, MoE, MoEPlusPlus, ZeroExperts
from moe_apps.layers.routing import capacity_split


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(2, 7, 6)).astype("float32")


def by_logits(**settings) -> MoEPlusPlus:
    """A router whose logits are the tokens' own features."""
    router = MoEPlusPlus(num_experts=4, **settings)
    router.build((None, 4))
    router.kernel.assign(np.eye(4))
    return router


def test_the_state_is_the_raw_logits_with_those_of_the_layer_below(rows):
    router = MoEPlusPlus(num_experts=5)
    below = np.random.default_rng(5).normal(size=(2, 7, 5)).astype("float32")
    decision = router(rows, state=ops.convert_to_tensor(below))
    expected = rows @ array(router.kernel) + below @ array(router.state_kernel)
    assert tuple(decision.state.shape) == (2, 7, 5)
    np.testing.assert_allclose(array(decision.state), expected, rtol=1e-5, atol=1e-5)
    best = np.argsort(-expected.reshape(14, 5))[:, :2]
    np.testing.assert_array_equal(array(decision.indices), best)


def test_no_state_is_as_zeros(rows):
    router = MoEPlusPlus(num_experts=5)
    one, two = router(rows), router(rows, state=ops.zeros((2, 7, 5)))
    np.testing.assert_array_equal(array(one.state), array(two.state))


def test_layers_hand_it_on(rows):
    first, second = (MoE(MoEPlusPlus(), FFNExperts(4, 5)) for _ in range(2))
    hidden, state = first(rows)
    with_state, without = array(second(hidden, state=state)[0]), array(second(hidden)[0])
    assert np.abs(with_state - without).max() > 1e-3


def test_zero_only_gives_zero_and_copy_only_the_input(rows):
    zero, _ = MoE(MoEPlusPlus(num_zero_cost=3), ZeroExperts(3))(rows)
    copy, _ = MoE(MoEPlusPlus(num_zero_cost=3, renormalize=True), CopyExperts(3))(rows)
    assert not array(zero).any()
    np.testing.assert_allclose(array(copy), rows, rtol=1e-5, atol=1e-6)


def test_zero_cost_experts_cost_less_in_the_balance_loss():
    router = by_logits(k=1, num_zero_cost=1, tau=0.5, balance_loss_weight=1.0)
    logits = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.4]], "float32"))
    # f = (1/2, 0, 0, 1/2), P = (0.45, 0.15, 0.15, 0.25): 0.225 + tau * 0.125
    loss = router(logits).losses["balance"]
    np.testing.assert_allclose(array(loss), 0.225 + 0.5 * 0.125, rtol=1e-5)
    masked = router(logits, mask=np.array([True, False])).losses["balance"]
    np.testing.assert_allclose(array(masked), 0.7, rtol=1e-5)


def test_a_silenced_zero_expert_leaves_its_weight_to_the_other():
    logits = np.array([[2.0, 0, 0, 1], [0, 0, 2, 1], [0, 3, 2, 1]], "float32")
    plain = by_logits(num_zero_cost=2)(logits)
    assert (array(plain.weights) > 0).all()
    router = by_logits(num_zero_cost=2, num_silenced=2, balance_loss_weight=1.0)
    decision = router(logits)
    weights = array(decision.weights)
    np.testing.assert_allclose(weights, [[1, 0], [0, 0], [1, 0]])
    # The balance loss counts what was chosen: expert 2 by two tokens, expert 3 by two.
    p = array(decision.probabilities).mean(axis=0)
    expected = (np.array([1, 1, 0.75 * 2, 0.75 * 2]) / 3 * p).sum()
    np.testing.assert_allclose(array(decision.losses["balance"]), expected, rtol=1e-5)


def test_silenced_pairs_run_no_expert():
    bank = MixedExperts([FFNExperts(3, 5), ZeroExperts(1)])
    router = by_logits(num_zero_cost=1, num_silenced=1)
    decision = router(np.array([[3.0, 0, 0, 2]] * 8, "float32"))
    assert array(decision.statistics["active_experts"]) == 1
    np.testing.assert_array_equal(array(decision.statistics["load"]), [1, 0, 0, 0])
    layer = MoE(router, bank)
    x = ops.convert_to_tensor([[3.0, 0, 0, 2]])
    np.testing.assert_allclose(
        array(layer(x)[0]), array(bank.banks[0]([x, x[:0], x[:0]])[0]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("gamma, tau, costly, free", [(1.1, 0.75, 8, 4), (1.0, 0.1, 32, 8)])
def test_capacity_of_all_experts_is_gamma_times_the_pairs(gamma, tau, costly, free):
    own, other = capacity_split(2 * 1000, costly, free, tau=tau, gamma=gamma)
    np.testing.assert_allclose(costly * own + free * other, gamma * 2000)
    np.testing.assert_allclose(own / other, tau)


def test_a_saved_stack_answers_as_before(rows, tmp_path):
    x = keras.Input((7, 6))
    hidden, state = MoE(MoEPlusPlus(num_zero_cost=1), FFNExperts(4, 5))(x)
    hidden, _ = MoE(MoEPlusPlus(num_zero_cost=1), FFNExperts(4, 5))(hidden, state=state)
    model = keras.Model(x, hidden)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(model(rows)), array(again(rows)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"tau": 0}, r"`tau` must be in \(0, 1\]\. Received: 0"),
        ({"num_silenced": 1}, "`num_silenced` must be between 0 and `num_zero_cost`"),
        ({"num_zero_cost": 5}, "`num_zero_cost` is 5, but there are only 4 experts"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        by_logits(**settings)
