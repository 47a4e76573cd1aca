"""What a person sees of a long training, on standard error: a bar, or a line an epoch."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows how far a training is and how long it will still take.

    On a terminal it is one line that changes in place; elsewhere (a log file, CI) one plain line
    an epoch.

    Args:
        title: What is being trained.
        epochs: Epochs of the whole training.
        steps: Batches an epoch.
        first_epoch: Epochs that are complete already.
        monitor: The logged value to show beside the loss.

    Example:
        >>> with TrainingProgress("demo", epochs=1, steps=2, first_epoch=0) as progress:
        ...     progress.step()
        ...     progress.epoch(1, {"loss": 0.5})
    """

    def __init__(
        self, title: str, *, epochs: int, steps: int, first_epoch: int, monitor: str = "loss"
    ) -> None:
        self.title = title
        self.epochs = epochs
        self.steps = steps
        self.first_epoch = first_epoch
        self.monitor = monitor
        self.started = time.monotonic()
        console = Console(stderr=True)
        self.live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not self.live,
            redirect_stdout=False,  # standard output carries results, which may be piped
            speed_estimate_period=600,
        )
        self._task = self._bar.add_task(
            self._label(first_epoch),
            total=epochs * steps,
            completed=first_epoch * steps,
            values="",
        )

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self) -> None:
        """Count one batch."""
        if self.live:
            self._bar.advance(self._task)

    def epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Show the values of a complete epoch, counted from 1."""
        values = "  ".join(
            f"{name} {logs[name]:.4g}" for name in dict.fromkeys(["loss", self.monitor])
        )
        self._bar.update(
            self._task,
            completed=epoch * self.steps,
            values=values,
            description=self._label(epoch),
        )
        if not self.live:
            left = (time.monotonic() - self.started) / (epoch - self.first_epoch)
            left *= self.epochs - epoch
            print(f"{self._label(epoch)}  {values}  {_duration(left)} left", file=sys.stderr)

    def _label(self, epoch: int) -> str:
        return f"{self.title}  epoch {epoch}/{self.epochs}"


@contextmanager
def interrupt_between_steps() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event to look at between training steps.

    In the middle of a step the weights may be in no usable state (JAX gives the old ones away
    before the new ones are stored). A second Ctrl-C interrupts at once.

    Example:
        >>> with interrupt_between_steps() as asked:
        ...     asked.is_set()
        False
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may handle signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
