from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_modes import array
from moe_apps.layers.dispatch.permutation import from_slots, place, rank_in_expert, to_slots

EXPERTS = 4


@settings(max_examples=30)
@given(st.lists(st.integers(0, EXPERTS), min_size=1, max_size=30))
def test_ranks_count_up_in_each_queue(experts):
    rank, count = (array(a) for a in rank_in_expert(np.array(experts, "int32"), EXPERTS))
    for expert in range(EXPERTS):
        queue = [r for r, e in zip(rank, experts, strict=True) if e == expert]
        assert queue == list(range(count[expert]))


def test_ranks_are_exact_in_long_queues():
    rank, count = rank_in_expert(np.zeros(40_000, "int32"), 2)
    np.testing.assert_array_equal(array(rank), np.arange(40_000))
    np.testing.assert_array_equal(array(count), [40_000, 0])


def test_rows_go_to_their_slots_and_come_back():
    tokens = np.arange(6, dtype="float32").reshape(3, 2) + 1
    # Slots of the first choices of the three tokens, then of the second; 5 means none.
    placement = place(np.array([4, 0, 5, 1, 5, 2], "int32"), k=2, num_slots=5)
    slots = array(to_slots(tokens, placement))
    np.testing.assert_array_equal(slots, [tokens[1], tokens[0], tokens[2], [0, 0], tokens[0]])
    back = array(from_slots(slots, placement))
    np.testing.assert_array_equal(back[0], [tokens[0], tokens[1], [0, 0]])
    np.testing.assert_array_equal(back[1], [tokens[0], [0, 0], tokens[2]])
