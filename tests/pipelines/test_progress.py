from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from moe_apps.pipelines.progress import TrainingProgress, interrupt_between_steps


def test_a_log_gets_one_plain_line_an_epoch(capsys):
    with TrainingProgress("demo", epochs=3, steps=5, first_epoch=1, monitor="mse") as progress:
        for epoch in (2, 3):
            for _ in range(5):
                progress.step()
            progress.epoch(epoch, {"loss": 0.25, "mse": 0.125, "other": 9})
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err and "\x1b" not in err
    first, last = err.splitlines()
    assert first.startswith("demo  epoch 2/3  loss 0.25  mse 0.125  ")
    assert last.endswith("0 s left")


def test_a_terminal_gets_a_bar_on_standard_error_only():
    script = """
from moe_apps.pipelines.progress import TrainingProgress
with TrainingProgress("demo", epochs=1, steps=2, first_epoch=0) as progress:
    progress.step()
    progress.epoch(1, {"loss": 0.5})
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert "epoch 1/1" in done.stderr and "left" in done.stderr and "━" in done.stderr


def test_first_interrupt_waits_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with interrupt_between_steps() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_in_another_thread_needs_no_signal_handler():
    states = []

    def train():
        with interrupt_between_steps() as asked:
            states.append(asked.is_set())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert states == [False]
