from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import FFNExperts, SwiGLUExperts
from moe_apps.layers.experts.expert_bank import ExpertBank, PerExpert

BANKS = [FFNExperts(3, 5, output_dim=4), FFNExperts(3, 5, use_bias=False), SwiGLUExperts(3, 5)]


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 4, 6)).astype("float32")


@pytest.mark.parametrize("bank", BANKS, ids=lambda bank: bank.name)
def test_all_call_forms_agree(bank, rows):
    stacked = array(bank(rows))
    cut = bank([rows[0], rows[1][:2], rows[2][:0]])
    np.testing.assert_allclose(array(cut[0]), stacked[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(array(cut[1]), stacked[1][:2], rtol=1e-5, atol=1e-6)
    assert cut[2].shape[0] == 0
    ids = np.array([0, 2, 2], "int32")
    by_id = array(bank(rows[ids], expert_ids=ids))
    np.testing.assert_allclose(by_id, stacked[ids], rtol=1e-5, atol=1e-6)
    same = array(bank(rows[:1]))
    np.testing.assert_allclose(same[2], array(bank(rows[[0, 0, 0]]))[2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "initializer", ["glorot_uniform", keras.initializers.RandomNormal(stddev=0.02, seed=7)]
)
def test_experts_start_different_and_as_if_each_were_alone(initializer):
    values = array(PerExpert(initializer)((8, 60, 40)))
    assert all((values[0] != other).any() for other in values[1:])
    alone = array(keras.initializers.get(initializer)((60, 40)))
    np.testing.assert_allclose(values.std(axis=(1, 2)), alone.std(), rtol=0.1)


def test_a_seeded_initializer_gives_the_same_bank_twice():
    def weights() -> np.ndarray:
        bank = SwiGLUExperts(3, 5, kernel_initializer=keras.initializers.GlorotUniform(seed=4))
        bank.build((None, None, 6))
        return bank.get_weights()[0]

    np.testing.assert_array_equal(weights(), weights())


def test_what_is_missing_or_wrong_is_named(rows):
    with pytest.raises(ValueError, match=r"`num_experts` must be at least 1. Received: 0"):
        SwiGLUExperts(0, 4)
    bank = ExpertBank(3)
    with pytest.raises(NotImplementedError, match="ExpertBank must define `compute`"):
        bank(rows)
