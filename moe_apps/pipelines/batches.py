"""Endless training batches whose order is a function of seed and position alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tensorflow as tf

# TensorFlow's default of 4 rounds leaves neighbouring indices and successive passes correlated.
ROUNDS = 16


class Batches(Protocol):
    """What `training.fit` needs of the training data."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches that make an epoch."""

    def from_epoch(self, epoch: int) -> tf.data.Dataset:
        """Return the endless batches from an epoch on (0 is the first), the same every time."""


@dataclass(frozen=True)
class ShuffledBatches:
    """Shuffled batches in constant memory, from any epoch on without skipping through the data.

    Batch `b` holds the examples at positions `b * batch_size` and following of an endless
    sequence: one random permutation of all examples after the other. Every example comes once in
    each pass, and every batch is full, so shapes are static and nothing is dropped.

    Attributes:
        gather: Example numbers, int64 [batch_size], to (inputs, targets) or (inputs, targets,
            weights); traced into tf.data.
        count: Number of examples, at least 1.
        batch_size: Examples a batch.
        seed: Seed of the order.
        steps_per_epoch: Batches an epoch; `None` for `count / batch_size`, rounded up.

    Example:
        >>> batches = ShuffledBatches(lambda numbers: numbers, count=4, batch_size=2, seed=1)
        >>> first_pass = [batch.numpy().tolist() for batch in batches.from_epoch(0).take(2)]
        >>> sorted(sum(first_pass, []))
        [0, 1, 2, 3]
    """

    gather: Callable[[tf.Tensor], Any]
    count: int
    batch_size: int
    seed: int = 0
    steps_per_epoch: int | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Batches that make an epoch."""
        return self.steps_per_epoch or -(-self.count // self.batch_size)

    def from_epoch(self, epoch: int) -> tf.data.Dataset:
        """Return the endless batches from an epoch on; 0 is the first."""
        import tensorflow as tf

        return (
            tf.data.Dataset.counter(start=epoch * self.batches_per_epoch)
            .map(
                lambda batch: self.gather(self._numbers(batch)),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .prefetch(tf.data.AUTOTUNE)
        )

    def _numbers(self, batch: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        positions = batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)  # (batch,)
        passes, positions = positions // self.count, positions % self.count
        seeds = tf.stack(  # (batch, 3)
            [tf.fill([self.batch_size], tf.constant(self.seed, tf.int64)), passes, passes * 0],
            axis=1,
        )
        # The public wrapper takes one seed a call; a batch may reach over the end of a pass.
        return tf.raw_ops.RandomIndexShuffle(
            index=positions,
            seed=seeds,
            max_index=tf.constant(self.count - 1, tf.int64),
            rounds=ROUNDS,
        )
