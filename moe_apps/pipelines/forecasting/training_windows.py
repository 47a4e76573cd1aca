"""Training batches of windows, varied by sign and mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moe_apps.models.forecasting import greedy_schedule
from moe_apps.pipelines.batches import ShuffledBatches
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.windows import Windows

if TYPE_CHECKING:
    import tensorflow as tf


def fed_back_steps(config: ForecastingConfig) -> int:
    """Steps of its own forecast that a model reads again before the last head answers.

    Training windows are longer by this, so that these positions are trained too.

    Example:
        >>> fed_back_steps(ForecastingConfig(data={"horizon": 96}))  # 96 = 64 + 32
        64
    """
    return sum(greedy_schedule(config.data.horizon, config.model.horizon_lengths)[:-1])


def training_batches(windows: Windows, config: ForecastingConfig) -> ShuffledBatches:
    """Shuffled batches of ({"values"}, {head: series}), the order a function of seed and epoch.

    A window has `look_back + horizon` rows. The model reads the first `look_back` and the steps
    that a forecast feeds back; the targets of every position are cut from the whole window by
    the loss, which leaves out missing rows (NaN) and what lies past the end.
    """
    import tensorflow as tf

    length = windows.look_back + windows.horizon
    read = windows.look_back + fed_back_steps(config)
    flat = np.where(windows.observed, windows.values, np.float32(np.nan))
    targets, inputs = tf.constant(flat), tf.constant(windows.values)
    starts = tf.constant(windows.starts)
    heads = [f"horizon_{steps}" for steps in config.model.horizon_lengths]
    settings = config.train
    flip = True if settings.flip is None else settings.flip
    mix = 0.5 if settings.mix is None else settings.mix

    def gather(numbers: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        rows = tf.gather(starts, numbers)[:, None] + tf.range(length, dtype=tf.int64)
        pair = tf.stack([tf.gather(inputs, rows), tf.gather(targets, rows)])  # (2, batch, length)
        pair = _varied(pair, numbers, flip, mix, config.seed)
        return {"values": pair[0, :, :read]}, dict.fromkeys(heads, pair[1])

    return ShuffledBatches(
        gather, len(windows), settings.batch_size, config.seed, settings.steps_per_epoch
    )


def window_batches(
    windows: Windows,
    config: ForecastingConfig,
    *,
    output: str = "forecast",
    targets: slice | None = None,
) -> ShuffledBatches:
    """Shuffled batches of ({"values", "known"}, {output: series}) for models of one window.

    Missing values are read filled, as everywhere, and as targets they are NaN. `known` is there
    where the data know something beforehand.

    Args:
        windows: training windows.
        config: the settings.
        output: name of the model's output.
        targets: rows of a window that are the target; None for those of the horizon. What is
            known is given up to its end.
    """
    import tensorflow as tf

    cut = windows.look_back
    aim = slice(cut, cut + windows.horizon) if targets is None else targets
    flat = np.where(windows.observed, windows.values, np.float32(np.nan))
    truth, inputs = tf.constant(flat), tf.constant(windows.values)
    starts = tf.constant(windows.starts)
    known = None if windows.known is None else tf.constant(windows.known)
    features = 0 if windows.known is None else windows.known.shape[1]
    shown = np.ones((aim.stop, features), np.float32)
    shown[cut:, list(windows.past)] = 0
    settings = config.train

    def gather(numbers: tf.Tensor) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        rows = tf.gather(starts, numbers)[:, None] + tf.range(aim.stop, dtype=tf.int64)
        pair = tf.stack([tf.gather(inputs, rows), tf.gather(truth, rows)])  # (2, batch, length)
        pair = _varied(pair, numbers, bool(settings.flip), settings.mix or 0.0, config.seed)
        history = {"values": pair[0, :, :cut]}
        if known is not None:
            history["known"] = tf.gather(known, rows) * shown
        return history, {output: pair[1, :, aim]}

    return ShuffledBatches(
        gather, len(windows), settings.batch_size, config.seed, settings.steps_per_epoch
    )


def _varied(pair: tf.Tensor, numbers: tf.Tensor, flip: bool, mix: float, seed: int) -> tf.Tensor:
    """Inputs and targets `(2, batch, length)`, turned and mixed alike; NaN stays missing."""
    import tensorflow as tf

    batch = tf.shape(pair)[1]
    # The shuffled numbers differ from batch to batch, so they seed what is random in it.
    draws = tf.random.stateless_uniform(
        [4, batch], seed=tf.stack([numbers[0] + seed, numbers[-1] * 2 + 1])
    )
    if mix:
        share = tf.where(draws[0] < mix, draws[1], 1.0)[None, :, None]
        sign = tf.where(draws[2] < 0.5, -1.0, 1.0) if flip else tf.ones([batch])
        # Windows are in random order: the neighbour is any window of any series.
        other = tf.roll(pair, shift=1, axis=1) * sign[None, :, None]
        pair = tf.where(share < 1.0, share * pair + (1.0 - share) * other, pair)
    if flip:
        pair *= tf.where(draws[3] < 0.5, -1.0, 1.0)[None, :, None]
    return pair
