from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_modes import TENSORFLOW, array, in_mode
from moe_apps.layers import Dense, Dropless, SwiGLUExperts

EXPERTS, TOKENS, K, FEATURES = 5, 13, 2, 3
WAYS = [("blocks", "eager"), ("blocks", "xla")]
if TENSORFLOW:
    WAYS += [("blocks", "graph"), ("slices", "eager"), ("slices", "graph")]


@pytest.fixture(scope="module")
def bank() -> SwiGLUExperts:
    bank = SwiGLUExperts(EXPERTS, 4)
    bank.build((None, None, FEATURES))
    return bank


@pytest.fixture(scope="module")
def run(bank):
    """Outputs by kernel and mode; compiled once for all examples, since shapes never change."""
    x = np.random.default_rng(5).normal(size=(TOKENS, FEATURES)).astype("float32")

    def outputs(dispatcher, mode):
        return in_mode(lambda i, w: dispatcher(x, i, w, bank, True)[0], mode)

    compiled = {
        (kernel, mode): outputs(Dropless(kernel, block_size=4), mode) for kernel, mode in WAYS
    }
    compiled["dense"] = outputs(Dense(), "eager")
    return compiled


@st.composite
def routings(draw) -> tuple[np.ndarray, np.ndarray]:
    """Any choice of two different experts a token, skewed to few experts, some pairs inactive."""
    allowed = draw(st.lists(st.integers(0, EXPERTS - 1), min_size=K, max_size=EXPERTS, unique=True))
    pairs = st.permutations(allowed).map(lambda order: order[:K])
    indices = draw(st.lists(pairs, min_size=TOKENS, max_size=TOKENS))
    active = draw(st.lists(st.booleans(), min_size=TOKENS * K, max_size=TOKENS * K))
    weights = np.linspace(0.1, 1, TOKENS * K) * active
    return np.array(indices, "int32"), weights.reshape(TOKENS, K).astype("float32")


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@settings(max_examples=25)
@given(routing=routings())
def test_nothing_is_dropped_under_any_imbalance(run, way, routing):
    np.testing.assert_allclose(run[way](*routing), run["dense"](*routing), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("expert", [0, 2, EXPERTS - 1])
def test_all_tokens_on_one_expert(run, way, expert):
    indices = np.full((TOKENS, K), expert, "int32")
    weights = np.array([[0.25, 0.75]] * TOKENS, "float32")
    np.testing.assert_allclose(
        run[way](indices, weights), run["dense"](indices, weights), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("block_size", [1, 3, 8, 100, None])
def test_any_block_size_gives_the_same(bank, run, block_size):
    x = np.random.default_rng(5).normal(size=(TOKENS, FEATURES)).astype("float32")
    indices = np.array([[0, 4]] * 9 + [[4, 1]] * 4, "int32")
    weights = np.full((TOKENS, K), 0.5, "float32")
    outputs, dropped = Dropless("blocks", block_size)(x, indices, weights, bank, True)
    np.testing.assert_allclose(array(outputs), run["dense"](indices, weights), rtol=1e-5, atol=1e-6)
    assert dropped == 0


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"`kernel` must be .*Received: 'sorted'"):
        Dropless("sorted")
    with pytest.raises(ValueError, match=r"`block_size` must be at least 1. Received: 0"):
        Dropless(block_size=0)
