from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_apps.pipelines.batches import ShuffledBatches


def numbers(batches: ShuffledBatches, epoch: int, count: int) -> np.ndarray:
    return np.stack(list(batches.from_epoch(epoch).take(count).as_numpy_iterator()))


@settings(max_examples=15)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_each_pass_shows_every_example_once(count, batch_size, seed):
    stream = numbers(ShuffledBatches(lambda n: n, count, batch_size, seed), 0, 2 * count).ravel()
    for start in (0, count):
        assert sorted(stream[start : start + count]) == list(range(count))


def test_an_epoch_is_the_same_whether_reached_or_started_from():
    batches = ShuffledBatches(lambda n: n, count=50, batch_size=8, seed=1)
    assert batches.batches_per_epoch == 7
    through = numbers(batches, 0, 21)
    np.testing.assert_array_equal(through[14:], numbers(batches, 2, 7))


def test_epochs_and_seeds_differ_in_order():
    batches = ShuffledBatches(lambda n: n, count=10_000, batch_size=100, seed=1)
    first, second = numbers(batches, 0, 100).ravel(), numbers(batches, 1, 100).ravel()
    other = numbers(ShuffledBatches(lambda n: n, 10_000, 100, seed=2), 0, 100).ravel()
    for one, two in ((first, second), (first, other), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.05


@pytest.mark.parametrize("count", [10_000, 1_000_003])
def test_batches_are_a_fair_sample(count):
    means = numbers(ShuffledBatches(lambda n: n, count, 25, seed=5), 0, 300).mean(axis=1)
    # Standard deviation of the mean of 25 uniform numbers.
    assert means.std() == pytest.approx(count / np.sqrt(12 * 25), rel=0.15)


def test_steps_per_epoch_cuts_the_same_stream():
    batches = ShuffledBatches(lambda n: n, count=50, batch_size=8, seed=1, steps_per_epoch=3)
    assert batches.batches_per_epoch == 3
    np.testing.assert_array_equal(numbers(batches, 0, 6)[3:], numbers(batches, 1, 3))


def test_shapes_are_static():
    batches = ShuffledBatches(lambda n: (n, n), count=5, batch_size=4)
    assert [spec.shape for spec in batches.from_epoch(0).element_spec] == [(4,), (4,)]
