"""Training batches of segments that are never twice the same, yet the same for a seed.

audiomentations and the layers of Keras draw from a state of their own. Here every number is a
function of the seed and the batch's number, so that a training that is resumed goes on with the
batches that it would have had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moe_apps.pipelines.acoustic.config import AugmentationSettings
from moe_apps.pipelines.acoustic.extraction import INT16, Segments
from moe_apps.pipelines.batches import Batches, ShuffledBatches

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class AugmentedBatches:
    """Batches, each changed by a function of it and of two seeds.

    Attributes:
        batches: what is changed.
        change: (batch, seed `[2]` int32) to the changed batch.
        seed: of the changes.
    """

    batches: Batches
    change: Callable[[Any, tf.Tensor], Any]
    seed: int

    @property
    def batches_per_epoch(self) -> int:
        """Batches that make an epoch."""
        return self.batches.batches_per_epoch

    def from_epoch(self, epoch: int) -> tf.data.Dataset:
        """Return the endless batches from an epoch on; 0 is the first."""
        import tensorflow as tf

        first = epoch * self.batches_per_epoch
        seed = tf.constant(self.seed % 2**31, tf.int32)

        def changed(number: tf.Tensor, batch: Any) -> Any:
            return self.change(batch, tf.stack([seed, tf.cast(number, tf.int32)]))

        return (
            self.batches.from_epoch(epoch)
            .enumerate(first)
            .map(changed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(tf.data.AUTOTUNE)
        )


def training_batches(
    segments: Segments,
    classes: int,
    settings: AugmentationSettings,
    *,
    names: tuple[str, ...],
    batch_size: int,
    seed: int,
    steps_per_epoch: int | None,
    class_weights: bool,
    features: Callable[[Any], dict[str, Any]],
) -> AugmentedBatches:
    """Batches of (inputs, one-hot classes, weights).

    Args:
        segments: of the training part.
        classes: number of classes.
        settings: what is done to segments.
        names: inputs of the network.
        batch_size: segments a batch.
        seed: of order and changes.
        steps_per_epoch: batches an epoch; None for as many as show every segment once.
        class_weights: weigh segments so that all classes count alike.
        features: makes the inputs, where noise is added to waveforms.
    """
    import tensorflow as tf

    counts = np.bincount(segments.label, minlength=classes)
    weight = len(segments) / (np.maximum(counts, 1) * (counts > 0).sum())
    weights = tf.constant(weight[segments.label] if class_weights else np.ones(len(segments)))
    labels = tf.constant(segments.label)
    noisy = settings.noise_snr is not None and segments.waveforms is not None
    chosen = {"waveform": segments.waveforms} if noisy else segments.inputs
    arrays = {name: tf.constant(v) for name, v in chosen.items() if noisy or name in names}

    fill = None
    if "image" in names:
        # What the network sees as 0: it standardises each frequency.
        fill = tf.constant(segments.inputs["image"].mean(axis=(0, 1)))

    def gather(numbers: tf.Tensor) -> Any:
        return (
            {name: tf.gather(array, numbers) for name, array in arrays.items()},
            tf.one_hot(tf.gather(labels, numbers), classes),
            tf.cast(tf.gather(weights, numbers), tf.float32),
        )

    def change(batch: Any, key: tf.Tensor) -> Any:
        inputs, target, weight = batch
        if noisy:
            waveform = tf.cast(inputs["waveform"], tf.float32) / INT16
            found = features(with_noise(waveform, settings.noise_snr or (0.0, 0.0), key))
            inputs = {name: found[name] for name in names}
        if fill is not None:
            inputs = {**inputs, "image": _changed_image(inputs["image"], fill, settings, key)}
        if settings.mixup:
            inputs, target, weight = mixed(inputs, target, weight, settings.mixup, key)
        return inputs, target, weight

    order = ShuffledBatches(gather, len(segments), batch_size, seed, steps_per_epoch)
    return AugmentedBatches(order, change, seed + 1)


def _seed(key: tf.Tensor, number: int) -> tf.Tensor:
    """The seed of one of the draws for a batch."""
    import tensorflow as tf

    return tf.stack([key[0] + number, key[1]])


def with_noise(waveform: tf.Tensor, snr: tuple[float, float], key: tf.Tensor) -> tf.Tensor:
    """Waveforms `[batch, samples]` and white noise, some dB from `snr[0]` to `snr[1]` below."""
    import tensorflow as tf

    shape = tf.shape(waveform)
    ratio = tf.random.stateless_uniform([shape[0], 1], _seed(key, 0), *snr)
    noise = tf.random.stateless_normal(shape, _seed(key, 1))
    power = tf.reduce_mean(tf.square(waveform), axis=1, keepdims=True)
    return waveform + noise * tf.sqrt(power * tf.pow(10.0, -ratio / 10.0))


def rolled(image: tf.Tensor, most: float, key: tf.Tensor) -> tf.Tensor:
    """Images `[batch, time, features]`, each rolled along time by up to a share `most` of it."""
    import tensorflow as tf

    batch, time = tf.shape(image)[0], tf.shape(image)[1]
    reach = tf.cast(tf.cast(time, tf.float32) * most, tf.int32)
    shift = tf.random.stateless_uniform([batch, 1], _seed(key, 9), -reach, reach + 1, tf.int32)
    return tf.gather(image, (tf.range(time)[None] - shift) % time, axis=1, batch_dims=1)


def masked(
    image: tf.Tensor, fill: tf.Tensor, axis: int, count: int, widest: float, key: tf.Tensor
) -> tf.Tensor:
    """Images with `count` spans along an axis set to `fill`, the mean of each frequency.

    Source: Park et al. 2019, "SpecAugment", arXiv 1904.08779.
    """
    import tensorflow as tf

    batch, size = tf.shape(image)[0], tf.shape(image)[axis]
    length = tf.cast(size, tf.float32)
    width = tf.random.stateless_uniform([batch, count], _seed(key, 2 * axis), 0.0, widest)
    width = width * length
    first = tf.random.stateless_uniform([batch, count], _seed(key, 2 * axis + 1))
    first = first[..., None] * (length - width[..., None])
    place = tf.cast(tf.range(size), tf.float32)[None, None]  # (1, 1, size)
    inside = (place >= first) & (place < first + width[..., None])
    blank = tf.reduce_any(inside, axis=1)  # (batch, size)
    blank = blank[:, :, None] if axis == 1 else blank[:, None, :]
    return tf.where(blank, fill, image)


def mixed(
    inputs: dict[str, tf.Tensor], target: tf.Tensor, weight: tf.Tensor, alpha: float, key: tf.Tensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Each example with a share of another one of the batch mixed in; shares are Beta(a, a).

    Source: Zhang et al. 2018, "mixup", arXiv 1710.09412.
    """
    import tensorflow as tf

    batch = tf.shape(target)[0]
    one, other = (
        tf.random.stateless_gamma([batch], _seed(key, 6 + n), alpha=alpha) + 1e-12 for n in (0, 1)
    )
    share = tf.maximum(one, other) / (one + other)  # the larger part is the example's own
    partner = tf.argsort(tf.random.stateless_uniform([batch], _seed(key, 8)))

    def mix(values: tf.Tensor) -> tf.Tensor:
        part = tf.reshape(share, [-1] + [1] * (len(values.shape) - 1))
        return part * values + (1 - part) * tf.gather(values, partner)

    return {name: mix(values) for name, values in inputs.items()}, mix(target), mix(weight)


def _changed_image(
    image: tf.Tensor, fill: tf.Tensor, settings: AugmentationSettings, key: tf.Tensor
) -> tf.Tensor:
    if settings.time_shift:
        image = rolled(image, settings.time_shift, key)
    if settings.frequency_masks:
        width = settings.frequency_width
        image = masked(image, fill, 2, settings.frequency_masks, width, key)
    if settings.time_masks:
        image = masked(image, fill, 1, settings.time_masks, settings.time_width, key)
    return image
