from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_modes import array
from moe_apps.layers import Capacity, Dense, Dropless
from moe_apps.layers.dispatch.dispatcher import active_expert_of_pair, get_dispatcher


def test_first_choices_come_first_and_inactive_pairs_have_no_expert():
    expert = active_expert_of_pair(
        np.array([[0, 1], [2, 0]]), np.array([[0.5, 0.5], [0.0, 1.0]]), num_experts=3
    )
    np.testing.assert_array_equal(array(expert), [0, 3, 1, 0])


def test_dispatchers_by_name():
    kinds = {"dense": Dense, "capacity": Capacity, "dropless": Dropless}
    assert all(type(get_dispatcher(name)) is kind for name, kind in kinds.items())


@pytest.mark.parametrize(
    "dispatcher",
    [Dense(), Capacity(1.5, 3.0), Dropless("blocks", 16)],
    ids=lambda d: type(d).__name__,
)
def test_round_trip(dispatcher):
    again = get_dispatcher(keras.saving.serialize_keras_object(dispatcher))
    assert type(again) is type(dispatcher)
    assert vars(again) == vars(dispatcher)
