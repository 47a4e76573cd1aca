"""Training batches: patches drawn, degraded, turned and mirrored on the fly by tf.data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moe_apps.pipelines.deraining.examples import TrainingPatches, turned

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class PatchBatches:
    """Endless batches; each patch is a function of seed and position alone.

    So a training that is resumed sees what an unbroken one would have seen, in whatever order
    threads work.

    Attributes:
        source: where patches come from.
        size: side of a patch.
        batch_size: patches a batch.
        batches_per_epoch: batches that count as an epoch.
        seed: seed of everything.
        augment: turn and mirror in one of eight ways.

    Example:
        >>> from moe_apps.pipelines.deraining.examples import MadePatches
        >>> from moe_apps.pipelines.deraining.sample_images import CleanImage, drawn_scene
        >>> source = MadePatches([CleanImage("a", drawn_scene(0))], ("streaks",), ("light",))
        >>> batches = PatchBatches(source, size=16, batch_size=2, batches_per_epoch=3)
        >>> rainy, clean = next(iter(batches.from_epoch(0)))
        >>> tuple(rainy.shape), tuple(clean.shape)
        ((2, 16, 16, 3), (2, 16, 16, 3))
    """

    source: TrainingPatches
    size: int
    batch_size: int
    batches_per_epoch: int
    seed: int = 0
    augment: bool = True

    def from_epoch(self, epoch: int) -> tf.data.Dataset:
        """Return the endless batches from an epoch on; 0 is the first."""
        import tensorflow as tf

        shape = (self.batch_size, self.size, self.size, 3)

        def read(batch: Any) -> Any:
            rainy, clean = tf.numpy_function(self.batch, [batch], (tf.float32, tf.float32))
            return tf.ensure_shape(rainy, shape), tf.ensure_shape(clean, shape)

        return (
            tf.data.Dataset.counter(start=epoch * self.batches_per_epoch)
            .map(read, num_parallel_calls=2, deterministic=True)
            .prefetch(4)
        )

    def batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch with that number: degraded and clean patches, float32 in [0, 1]."""
        first = int(number) * self.batch_size
        pairs = [self._pair(first + place) for place in range(self.batch_size)]
        rainy, clean = (np.stack(images).astype(np.float32) for images in zip(*pairs, strict=True))
        return rainy, clean

    def _pair(self, number: int) -> tuple[np.ndarray, ...]:
        random = np.random.default_rng((self.seed, number))
        pair: tuple[np.ndarray, ...] = self.source.patch(random, self.size)
        if self.augment:
            way = int(random.integers(8))
            pair = tuple(turned(image, way) for image in pair)
        return pair
