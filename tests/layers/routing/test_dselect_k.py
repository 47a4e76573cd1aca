from __future__ import annotations

import numpy as np
import pytest

from keras_modes import array, step
from moe_apps.layers import DSelectK, FFNExperts, MoE


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(30, 6)).astype("float32")


def saturated(num_experts: int, rows: np.ndarray, **settings) -> DSelectK:
    router = DSelectK(k=2, num_experts=num_experts, **settings)
    router.build(rows.shape)
    router.kernel.assign(1e8 * array(router.kernel))
    return router


@pytest.mark.parametrize("num_experts", [2, 4, 8, 3, 6])
def test_the_gate_is_a_distribution(rows, num_experts):
    router = DSelectK(k=3, num_experts=num_experts)
    decision = router(rows)
    weights = array(decision.weights)
    assert weights.shape == (30, num_experts) and (np.diff(weights, axis=1) <= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.sort(array(decision.indices)), [[*range(num_experts)]] * 30)
    assert (weights > 0).all()  # at the start every expert has a part


def test_before_the_division_mass_leaks_where_codes_name_nobody(rows):
    def named(num_experts: int) -> np.ndarray:
        router = DSelectK(k=2, num_experts=num_experts)
        router.build(rows.shape)
        return array(router.selectors(router.kernel * 0)).sum(axis=-1)

    np.testing.assert_allclose(named(4), 1)
    np.testing.assert_allclose(named(6), 6 / 8)


def test_certain_selectors_choose_at_most_k(rows):
    decision = saturated(4, rows)(rows)
    weights = array(decision.weights)
    assert (weights[:, 0] > 0).all() and not weights[:, 2:].any()
    assert 1 < array(decision.statistics["active_experts"]) <= 2


def test_the_code_of_an_expert_is_its_number(rows):
    router = DSelectK(k=1, num_experts=4)
    router.build((None, 2))
    router.kernel.assign(10 * np.eye(2))
    bits = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], "float32")  # lowest bit first
    np.testing.assert_array_equal(array(router(bits).indices)[:, 0], [0, 1, 2, 3])


def test_selectors_that_name_nobody_give_zero_and_cost(rows):
    router = DSelectK(k=1, num_experts=3, reciprocal_loss_weight=1.0)
    router.build((None, 2))
    router.kernel.assign(10 * np.eye(2))
    decision = router(np.array([[1.0, 1.0]], "float32"))  # code 3
    assert not array(decision.weights).any()
    np.testing.assert_allclose(array(decision.losses["reciprocal"]), 1e6, rtol=1e-3)
    fine = router(np.array([[1.0, -1.0]], "float32"))
    np.testing.assert_allclose(array(fine.losses["reciprocal"]), 1, rtol=1e-4)
    assert "reciprocal" not in DSelectK(num_experts=4)(rows).losses


def test_entropy_falls_from_even_to_certain(rows):
    even = DSelectK(k=2, num_experts=4, entropy_loss_weight=1.0)
    even.build(rows.shape)
    even.kernel.assign(0 * array(even.kernel))
    np.testing.assert_allclose(
        array(even(rows).losses["selector_entropy"]), 2 * np.log(4), rtol=1e-5
    )
    mask = np.arange(30) < 1
    certain = saturated(4, rows[:1], entropy_loss_weight=1.0)
    loss = array(certain(50 * rows, mask=mask).losses["selector_entropy"])
    np.testing.assert_allclose(loss, 0, atol=1e-5)


def test_gradients_reach_both_matrices(rows):
    layer = MoE(DSelectK(k=2), FFNExperts(4, 5))
    gradients = step(layer, rows, with_losses=False).gradients
    assert [np.abs(g).max() > 1e-4 for g in gradients[:2]] == [True, True]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, r"`k` must be at least 1\. Received: k=0"),
        ({"gamma": 0}, r"`gamma` must be greater than 0\. Received: 0"),
        ({"num_experts": 1}, "DSelectK needs 2 experts or more"),
    ],
)
def test_bad_settings_are_named(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        DSelectK(**{"num_experts": 4, **settings})(rows)
