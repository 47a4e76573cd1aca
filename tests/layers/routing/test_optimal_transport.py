from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from keras_modes import array, in_mode, step
from moe_apps.layers import FFNExperts, MoE, SparseTransport, TopK
from moe_apps.layers.routing.optimal_transport import sparse_simplex_projection


@pytest.fixture
def x() -> np.ndarray:
    """All tokens alike in part, so that top-k crowds them on few experts."""
    draw = np.random.default_rng(0).normal
    return (draw(size=(2, 12, 6)) + 2 * draw(size=(6,))).astype("float32")


def make(**settings) -> SparseTransport:
    """A router with the same scores on all backends."""
    router = SparseTransport(**{"k": 2, "num_experts": 4, **settings})
    router.build((None, 6))
    router.kernel.assign(np.random.default_rng(3).normal(size=(6, router.num_experts)) / 2)
    return router


def plan_of(router: SparseTransport, x: np.ndarray) -> np.ndarray:
    """`(tokens, experts)`, from the active pairs and the scores they were chosen by."""
    scores: list = []
    weigh = router.weigh
    router.weigh = lambda logits, *rest: scores.append(logits) or weigh(logits, *rest)
    router(x)
    del router.weigh
    values, indices = (array(part) for part in sparse_simplex_projection(scores[0], router.k))
    plan = np.zeros((len(values), router.num_experts))
    np.put_along_axis(plan, indices, values, axis=1)
    return plan


def test_projection_has_at_most_k_entries_and_sums_to_one():
    scores = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    for k in (1, 2, 6):
        values, indices = (array(part) for part in sparse_simplex_projection(scores, k))
        assert (values >= 0).all() and values.shape == (50, k)
        np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(indices, np.argsort(-scores, axis=1)[:, :k])
    assert (array(sparse_simplex_projection(scores, 1)[0]) == 1).all()


def test_projection_is_the_nearest_point():
    scores = np.array([0.9, 0.5, 0.4, -3.0], "float32")
    values, indices = (array(part) for part in sparse_simplex_projection(scores, 4))
    nearest = minimize(
        lambda p: ((p - scores) ** 2).sum(),
        np.full(4, 0.25),
        bounds=[(0, None)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
    ).x
    np.testing.assert_allclose(values, nearest[indices], atol=1e-3)


def test_rows_are_exact_and_columns_come_near_their_share(x):
    router = make(iterations=60, learning_rate=0.03)
    plan = plan_of(router, x)
    np.testing.assert_allclose(plan.sum(axis=1), 1, rtol=1e-5)
    assert ((plan > 0).sum(axis=1) <= 2).all()
    columns = plan.reshape(2, 12, 4).sum(axis=1)  # each sequence by itself
    assert np.abs(columns - 3).max() < 1
    early = plan_of(make(iterations=1), x).reshape(2, 12, 4).sum(axis=1)
    assert np.abs(early - 3).max() > np.abs(columns - 3).max()


def test_with_all_experts_allowed_it_is_quadratic_transport(x):
    x = x[:1, :5]
    router = make(k=3, num_experts=3, iterations=100, learning_rate=0.03, gamma=0.5)
    plan = plan_of(router, x)
    gains = array(router(x).probabilities)

    def cost(flat: np.ndarray) -> float:
        t = flat.reshape(5, 3)
        return -(gains * t).sum() + 0.25 * (t**2).sum()

    best = minimize(
        cost,
        np.full(15, 1 / 3),
        bounds=[(0, None)] * 15,
        constraints=[
            {"type": "eq", "fun": lambda t: t.reshape(5, 3).sum(axis=1) - 1},
            {"type": "eq", "fun": lambda t: t.reshape(5, 3).sum(axis=0)[:2] - 5 / 3},
        ],
    )
    np.testing.assert_allclose(plan, best.x.reshape(5, 3), atol=0.02)


def test_load_is_more_even_than_that_of_top_k(x):
    router, top_k = make(k=1, learning_rate=0.05), TopK(1, num_experts=4)
    top_k.build(x.shape)
    top_k.set_weights(router.get_weights())
    even, crowded = (array(one(x).statistics["load"]) for one in (router, top_k))
    assert even.max() < crowded.max()


def test_weights_are_probabilities_and_gradients_pass_through_them_alone(x):
    router = make()
    layer = MoE(router, FFNExperts(4, 5), dispatch="dense")
    result = step(layer, x, "eager")
    assert result.gradients[0].any()
    decision = router(x)
    p = np.take_along_axis(array(decision.probabilities), array(decision.indices), axis=1)
    weights = array(decision.weights)
    np.testing.assert_array_equal(weights[weights > 0], p[weights > 0])


def test_pairs_without_transport_are_inactive(x):
    router = make(k=3, gamma=0.1)
    plan = plan_of(router, x)
    assert (plan > 0).sum(axis=1).min() < 3
    np.testing.assert_array_equal(array(router(x).weight_of_expert()) > 0, plan > 0)


def test_sequences_do_not_meddle_and_padding_takes_no_part(x):
    router = make()
    whole = array(router(x).weight_of_expert()).reshape(2, 12, 4)
    np.testing.assert_allclose(array(router(x[1:]).weight_of_expert()), whole[1], rtol=1e-5)
    mask = np.arange(12) < 8
    padded = array(router(x, mask=np.tile(mask, (2, 1))).weight_of_expert()).reshape(2, 12, 4)
    alone = array(router(x[:, :8]).weight_of_expert()).reshape(2, 8, 4)
    np.testing.assert_allclose(padded[:, :8], alone, rtol=1e-5)
    assert not padded[:, 8:].any()


def test_modes_agree(x, mode):
    router = make()
    expected = array(router(x).weight_of_expert())
    weights = in_mode(lambda x: router(x).weight_of_expert(), mode)(x)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"k": 0}, "`k` must be at least 1. Received: 0"),
        ({"iterations": 0}, "`iterations` must be at least 1. Received: 0"),
        ({"gamma": 0}, "`gamma` must be greater than 0. Received: 0"),
        ({"learning_rate": -1}, "`learning_rate` must be greater than 0. Received: -1"),
        ({"k": 5, "num_experts": 4}, "`k` is 5, but there are only 4 experts"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SparseTransport(**settings).build((None, 3))
