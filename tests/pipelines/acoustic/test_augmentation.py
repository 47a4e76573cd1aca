from __future__ import annotations

import numpy as np
import tensorflow as tf

from moe_apps.pipelines.acoustic.augmentation import (
    masked,
    mixed,
    rolled,
    training_batches,
    with_noise,
)
from moe_apps.pipelines.acoustic.config import AugmentationSettings
from moe_apps.pipelines.acoustic.extraction import Segments

KEY = tf.constant([3, 7], tf.int32)
ROWS, TIME, BANDS = 64, 20, 10


def images() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(ROWS, TIME, BANDS)), tf.float32)


def test_noise_has_the_power_asked_for() -> None:
    sound = tf.constant(3 * np.random.default_rng(1).normal(size=(16, 20000)), tf.float32)
    added = with_noise(sound, (10.0, 10.0), KEY) - sound
    ratio = tf.reduce_mean(sound**2, axis=1) / tf.reduce_mean(added**2, axis=1)
    np.testing.assert_allclose(10 * np.log10(ratio), 10, atol=0.2)
    wide = with_noise(sound, (0.0, 20.0), KEY) - sound
    spread = 10 * np.log10(tf.reduce_mean(sound**2, axis=1) / tf.reduce_mean(wide**2, axis=1))
    assert spread.min() < 5 and spread.max() > 15


def test_rolling_moves_time_alone() -> None:
    image = images()
    found = rolled(image, 0.5, KEY).numpy()
    shifts = set()
    for before, after in zip(image.numpy(), found, strict=True):
        fitting = [s for s in range(-10, 11) if np.allclose(np.roll(before, s, axis=0), after)]
        assert fitting
        shifts.add(fitting[0])
    assert len(shifts) > 10


def test_masks_are_spans_of_the_mean() -> None:
    fill = tf.fill([BANDS], 100.0)
    for axis, size in ((1, TIME), (2, BANDS)):
        found = masked(images(), fill, axis, 1, 0.5, KEY).numpy() == 100
        other = 3 - axis
        blank = found.all(axis=other)  # (rows, size)
        assert (found == np.expand_dims(blank, other)).all()
        counts = blank.sum(axis=1)
        assert counts.max() <= size // 2 + 1 and counts.min() == 0 < counts.max()
        edges = np.abs(np.diff(np.pad(blank, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1)
        assert set(edges) <= {0, 2}  # one span


def test_mixing_mixes_targets_alike() -> None:
    target = tf.one_hot(np.arange(ROWS) % 4, 4)
    value = tf.cast(tf.argmax(target, axis=1), tf.float32)[:, None]
    inputs, found, weight = mixed({"x": value}, target, tf.ones(ROWS), 0.5, KEY)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=1), 1, atol=1e-5)
    expected = tf.linalg.matvec(found, tf.range(4, dtype=tf.float32))
    np.testing.assert_allclose(inputs["x"][:, 0], expected, atol=1e-4)
    assert (tf.reduce_max(found, axis=1).numpy() < 0.99).mean() > 0.2
    assert (tf.argmax(found, 1) == tf.argmax(target, 1)).numpy().all()
    np.testing.assert_allclose(weight, 1, atol=1e-5)


def test_batches_repeat_by_seed_and_resume() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    segments = Segments(
        {"image": rng.normal(size=(40, TIME, BANDS)).astype("float32")},
        np.arange(40), np.zeros(40), label,
    )  # fmt: skip

    def batches(seed: int) -> object:
        return training_batches(
            segments, 2, AugmentationSettings(), names=("image",), batch_size=8, seed=seed,
            steps_per_epoch=None, class_weights=True, features=lambda x: {},
        )  # fmt: skip

    whole = [b[0]["image"].numpy() for b in batches(1).from_epoch(0).take(10)]
    later = [b[0]["image"].numpy() for b in batches(1).from_epoch(1).take(5)]
    np.testing.assert_array_equal(whole[5:], later)
    other = next(iter(batches(2).from_epoch(0)))[0]["image"].numpy()
    assert np.abs(other - whole[0]).max() > 0.1


def test_rare_classes_weigh_more() -> None:
    label = np.array([0] * 9 + [1] * 3)
    segments = Segments(
        {"image": np.zeros((12, 2, 2), np.float32)}, np.arange(12), np.zeros(12), label
    )
    plain = AugmentationSettings(mixup=0, frequency_masks=0, time_masks=0, time_shift=0)
    found = training_batches(
        segments, 2, plain, names=("image",), batch_size=12, seed=0, steps_per_epoch=None,
        class_weights=True, features=lambda x: {},
    )  # fmt: skip
    _, target, weight = next(iter(found.from_epoch(0)))
    np.testing.assert_allclose(tf.reduce_sum(target * weight[:, None], axis=0), [6, 6], atol=1e-5)
