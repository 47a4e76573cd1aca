"""What happens around each epoch of a training."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras
import pandas as pd

from moe_apps.errors import RunError
from moe_apps.layers.routing.trackers import RoutingTracker
from moe_apps.pipelines.atomic_files import written_whole
from moe_apps.pipelines.checkpoint import Checkpoint, TrainingState, averaged_weights
from moe_apps.pipelines.progress import TrainingProgress


class EpochEnd(keras.callbacks.Callback):
    """Validates, keeps the best weights, saves the state, stops early, reports.

    Keras has a callback for each of these, but EarlyStopping, ModelCheckpoint and CSVLogger
    forget their state with the process, and BackupAndRestore neither keeps it for them nor
    writes weights and epoch number as one.

    Args:
        state: Where training stands; kept up to date.
        checkpoint: Where the state is saved after each epoch.
        validate: Returns the values to judge by.
        monitor: Name of the value that decides which epoch is best.
        mode: Whether the best value is the smallest or the largest.
        history_file: CSV with one row an epoch.
        on_epoch: Called with the number of complete epochs and the epoch's values.
        progress: Told of each step and epoch.
        interrupted: Raises KeyboardInterrupt at the next step when set.
    """

    def __init__(
        self,
        state: TrainingState,
        checkpoint: Checkpoint,
        *,
        validate: Callable[[], Mapping[str, float]] | None,
        monitor: str,
        mode: Literal["min", "max"],
        history_file: Path,
        on_epoch: Sequence[Callable[[int, dict[str, float]], None]],
        progress: TrainingProgress,
        interrupted: threading.Event,
    ) -> None:
        super().__init__()
        self.state = state
        self.checkpoint = checkpoint
        self.validate = validate
        self.monitor = monitor
        self.mode = mode
        self.history_file = history_file
        self.on_epoch = on_epoch
        self.progress = progress
        self.interrupted = interrupted

    # A batch is counted when the next one begins: overriding `on_train_batch_end` would make
    # Keras wait for the values of every batch.
    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        if self.interrupted.is_set():
            raise KeyboardInterrupt
        if batch > 0:
            self.progress.step()

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.epoch_started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        row = self._row(epoch + 1, logs or {})
        with averaged_weights(self.model, self.checkpoint.settings):
            if self.validate is not None:
                row |= {name: float(value) for name, value in self.validate().items()}
            self._judge(row)
        self._keep(row)
        for report in self.on_epoch:
            report(epoch + 1, dict(row))
        self.progress.epoch(epoch + 1, row)
        self.model.stop_training = self.state.done
        if self.interrupted.is_set():
            raise KeyboardInterrupt

    def _row(self, epoch: int, logs: Mapping[str, float]) -> dict[str, float]:
        silent = self._silent()
        row = {name: float(value) for name, value in logs.items() if name not in silent}
        if not math.isfinite(row["loss"]):
            raise RunError(
                f"the training loss became {row['loss']} in epoch {epoch}: lower "
                "train.learning_rate, or set train.clip_norm or train.precision=float32"
            )
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        seconds = time.monotonic() - self.epoch_started
        return {"epoch": epoch, **row, "learning_rate": rate, "seconds": seconds}

    def _silent(self) -> set[str]:
        """Values of routing trackers that saw nothing, as on JAX: their zeros mean nothing."""
        trackers = [one for one in self.model.metrics if isinstance(one, RoutingTracker)]
        return {name for one in trackers if float(one.count) == 0 for name in one.result()}

    def _judge(self, row: Mapping[str, float]) -> None:
        """Keep the weights when they are the best so far."""
        state, epoch, value = self.state, int(row["epoch"]), row[self.monitor]
        if not math.isfinite(value):
            raise RunError(
                f"{self.monitor} became {value} in epoch {epoch}, while the loss is finite"
            )
        sign = 1 if self.mode == "max" else -1
        if state.best is None or sign * value > sign * state.best:
            state.best, state.best_epoch, state.wait = value, epoch, 0
            self.checkpoint.save_best(self.model, epoch)
        else:
            state.wait += 1

    def _keep(self, row: dict[str, float]) -> None:
        """Write history and state; from here on the epoch is complete."""
        state, settings = self.state, self.checkpoint.settings
        state.epoch = int(row["epoch"])
        state.history.append(row)
        state.seconds += time.monotonic() - self.epoch_started
        out_of_patience = 0 < settings.patience <= state.wait
        state.done = out_of_patience or state.epoch >= settings.epochs
        self.checkpoint.save(self.model, state)
        with written_whole(self.history_file) as temporary:
            pd.DataFrame(state.history).to_csv(temporary, index=False)
