"""Training, the same for every domain: resumable, seeded, and with its best weights kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from moe_apps.pipelines.batches import Batches
from moe_apps.pipelines.train_settings import TrainSettings

if TYPE_CHECKING:
    import keras

    from moe_apps.pipelines.checkpoint import Checkpoint, TrainingState

__all__ = ["OnEpoch", "TrainSettings", "TrainingResult", "fit", "set_seed"]

OnEpoch = Callable[[int, dict[str, float]], None]
"""Called after an epoch with its number, from 1, and its values."""


@dataclass(frozen=True)
class TrainingResult:
    """How a training went; the model holds the best epoch's weights.

    Attributes:
        epochs: Complete epochs.
        best_epoch: The epoch whose weights are kept, counted from 1.
        best: Its value of the monitored quantity.
        monitor: Name of that quantity.
        seconds: Time of training and validation, over all sessions of a resumed training.
        step_seconds: Time of a batch: median over the epochs, compilation left out where there
            is more than one epoch.
        history: One row an epoch: epoch, loss, metrics, learning_rate, seconds, validation.
    """

    epochs: int
    best_epoch: int
    best: float
    monitor: str
    seconds: float
    step_seconds: float
    history: tuple[dict[str, float], ...]


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and the Keras backend.

    Op determinism is left off: it would switch XLA off and make some GPU operations fail. On a
    CPU the same seed gives the same training without it.

    Example:
        >>> set_seed(0)
    """
    import keras

    keras.utils.set_random_seed(seed)


def fit(
    model: keras.Model,
    data: Batches,
    settings: TrainSettings,
    *,
    checkpoint: Path,
    history_file: Path,
    validate: Callable[[], Mapping[str, float]] | None = None,
    monitor: str = "loss",
    mode: Literal["min", "max"] = "min",
    on_epoch: Sequence[OnEpoch] = (),
    resume: bool = False,
    title: str = "training",
) -> TrainingResult:
    """Train a model that `optimisation.compile_model` has compiled.

    After every epoch the whole state is on disk: an interrupted training that is resumed ends
    with the same weights as one that ran through. Ctrl-C (taken between two steps) also leaves
    `interrupted.weights.h5`, and goes on as KeyboardInterrupt.

    Args:
        model: Compiled model; holds the best weights at the end.
        data: Training batches.
        settings: How to train.
        checkpoint: Folder for the state; emptied first unless `resume`.
        history_file: CSV that gets a row an epoch.
        validate: Called after each epoch (averaged weights are in the model if `ema` is set);
            its values join the epoch's.
        monitor: Name of the value by which the best epoch is chosen.
        mode: Whether a good value is small (`min`) or large (`max`).
        on_epoch: Called after each epoch with its number, from 1, and its values.
        resume: Go on from `checkpoint`; from the start when no epoch was completed.
        title: Shown with the progress.

    Raises:
        RunError: The loss is no longer finite, or a checkpoint does not fit.
        KeyboardInterrupt: Passed on, after saving.

    Example:
        >>> import keras, tempfile
        >>> from moe_apps.pipelines.batches import ShuffledBatches
        >>> from moe_apps.pipelines.optimisation import compile_model
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> settings = TrainSettings(epochs=2, batch_size=4)
        >>> def gather(numbers):
        ...     x = keras.ops.cast(numbers, "float32")[:, None]
        ...     return x, 2 * x
        >>> data = ShuffledBatches(gather, count=8, batch_size=4)
        >>> compile_model(model, settings, loss="mse", total_steps=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = fit(model, data, settings, checkpoint=Path(folder, "checkpoint"),
        ...                  history_file=Path(folder, "history.csv"))
        >>> result.epochs
        2
    """
    from moe_apps.pipelines.checkpoint import Checkpoint, TrainingState, averaged_weights
    from moe_apps.pipelines.epoch_end import EpochEnd
    from moe_apps.pipelines.progress import TrainingProgress, interrupt_between_steps

    saved = Checkpoint(checkpoint, settings)
    state = _restored(model, saved) if resume else None
    if state is None:
        saved.clear()
        state = TrainingState()
    steps = data.batches_per_epoch
    if not state.done:
        progress = TrainingProgress(
            title, epochs=settings.epochs, steps=steps, first_epoch=state.epoch, monitor=monitor
        )
        with interrupt_between_steps() as interrupted, progress:
            epoch_end = EpochEnd(
                state,
                saved,
                validate=validate,
                monitor=monitor,
                mode=mode,
                history_file=history_file,
                on_epoch=on_epoch,
                progress=progress,
                interrupted=interrupted,
            )
            try:
                model.fit(
                    data.from_epoch(state.epoch),
                    epochs=settings.epochs,
                    initial_epoch=state.epoch,
                    steps_per_epoch=steps,
                    callbacks=[epoch_end],
                    shuffle=False,
                    verbose=0,
                )
            except KeyboardInterrupt:
                with averaged_weights(model, settings):
                    saved.save_interrupted(model)
                raise
    saved.load_best(model, state.best_epoch)
    return _result(state, monitor, steps)


def _restored(model: keras.Model, saved: Checkpoint) -> TrainingState | None:
    if saved.exists:
        return saved.restore(model)
    print("no complete epoch to resume from: training starts anew", file=sys.stderr)
    return None


def _result(state: TrainingState, monitor: str, steps: int) -> TrainingResult:
    assert state.best is not None  # a complete epoch always has a finite value
    epoch_seconds = [row["seconds"] for row in state.history]
    return TrainingResult(
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        best=state.best,
        monitor=monitor,
        seconds=state.seconds,
        step_seconds=median(epoch_seconds[1:] or epoch_seconds) / steps,
        history=tuple(state.history),
    )
