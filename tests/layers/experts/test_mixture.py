from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import (
    ConstantExperts,
    CopyExperts,
    FFNExperts,
    MixedExperts,
    MoE,
    SwiGLUExperts,
    TopK,
    ZeroExperts,
)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(6, 3, 4)).astype("float32")


@pytest.fixture
def bank() -> MixedExperts:
    bank = MixedExperts([FFNExperts(2, 5), SwiGLUExperts(1, 5), CopyExperts(2), ZeroExperts(1)])
    bank.build((None, None, 4))
    return bank


def test_experts_are_numbered_in_the_order_of_the_banks(bank, rows):
    outputs = array(bank(rows))
    np.testing.assert_allclose(outputs[:2], array(bank.banks[0](rows[:2])), rtol=1e-6)
    np.testing.assert_allclose(outputs[2:3], array(bank.banks[1](rows[2:3])), rtol=1e-6)
    np.testing.assert_array_equal(outputs[3:5], rows[3:5])
    assert not outputs[5].any()


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 3, 3, 5], [5] * 6, [0, 0]])
def test_each_named_expert_serves_its_group(bank, rows, ids):
    one = array(bank(rows[: len(ids)], expert_ids=np.array(ids, "int32")))
    for group, expert in enumerate(ids):
        everyone = array(bank(rows[group : group + 1]))  # the group's rows, to all experts
        np.testing.assert_allclose(one[group], everyone[expert], rtol=1e-5, atol=1e-6)


def test_all_dispatchers_agree_on_it():
    x = np.random.default_rng(2).normal(size=(40, 4)).astype("float32")
    outputs = []
    for dispatch in ("dense", "dropless", "capacity"):
        keras.utils.set_random_seed(3)
        banks = [FFNExperts(2, 5), ConstantExperts(1), ZeroExperts(1)]
        outputs.append(array(MoE(TopK(2), MixedExperts(banks), dispatch=dispatch)(x)))
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[0], outputs[2], rtol=1e-5, atol=1e-6)


def test_a_saved_mixture_keeps_its_banks(bank):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(bank))
    assert [type(part) for part in again.banks] == [type(part) for part in bank.banks]
    assert again.num_experts == 6 and again.get_config() == bank.get_config()


@keras.saving.register_keras_serializable(package="tests")
class Prepared(CopyExperts):
    def prepare(self, x):
        return 2 * x


def test_bad_banks_are_named():
    with pytest.raises(ValueError, match="`num_experts` is 5, but the banks have 3 experts"):
        MixedExperts([CopyExperts(3)], num_experts=5)
    with pytest.raises(ValueError, match="`banks` must give as many features each"):
        MixedExperts([CopyExperts(1, name="a"), FFNExperts(1, 5, output_dim=3)])(np.ones((2, 1, 4)))
    with pytest.raises(ValueError, match="but Prepared works on what its `prepare` makes"):
        MixedExperts([Prepared(1)])
    with pytest.raises(ValueError, match="`num_experts` must be at least 1"):
        MixedExperts([])
