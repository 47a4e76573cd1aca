from __future__ import annotations

import numpy as np

from moe_apps.pipelines.recommendation.batches import training_batches
from moe_apps.pipelines.recommendation.sample_rows import RowSample
from moe_apps.pipelines.recommendation.table import Table


def test_a_sample_is_uniform_over_a_stream_of_unknown_length():
    taken = np.zeros(100)
    for seed in range(300):
        sample = RowSample(10, seed)
        for start in range(0, 100, 7):
            stop = min(start + 7, 100)
            sample.add(Table({"x": np.arange(start, stop, dtype=np.float32)}))
        rows = sample.table().columns["x"].astype(int)
        assert len(rows) == len(set(rows)) == 10 and (np.diff(rows) > 0).all()
        taken[rows] += 1
    # 30 times each on average; five standard deviations.
    assert abs(taken - 30).max() < 5 * np.sqrt(27)


def test_a_short_stream_is_kept_whole():
    sample = RowSample(10, 0)
    sample.add(Table({"x": np.arange(4, dtype=np.float32)}))
    assert sample.table().columns["x"].tolist() == [0, 1, 2, 3]


def test_batches_show_every_row_once_a_pass_also_from_files_on_disk(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(10, dtype=np.int32)[:, None])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    targets = {"y": np.arange(10, dtype=np.float32)}
    batches = training_batches({"categorical": mapped}, targets, batch_size=5, seed=1)
    assert batches.batches_per_epoch == 2
    seen = []
    for inputs, labels in batches.from_epoch(0).take(2):
        np.testing.assert_array_equal(inputs["categorical"][:, 0], labels["y"])
        seen += labels["y"].numpy().tolist()
    assert sorted(seen) == list(range(10))


def test_a_batch_is_no_larger_than_the_data():
    one = training_batches({"x": np.ones((3, 1), np.float32)}, {"y": np.ones(3)}, 64, seed=0)
    assert next(iter(one.from_epoch(0)))[0]["x"].shape == (3, 1)
