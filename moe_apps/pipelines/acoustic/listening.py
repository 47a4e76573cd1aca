"""Answers while the sound comes in, from a file in real time or from a device."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from moe_apps.errors import ConfigError, DataError
from moe_apps.models.acoustic import AcousticFeatures
from moe_apps.pipelines.acoustic.answers import expert_share
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.prediction import named, run_classes
from moe_apps.pipelines.acoustic.segments import segments_of
from moe_apps.pipelines.acoustic.sound_files import mono_blocks, resampler
from moe_apps.pipelines.inference import in_batches
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

Samples = npt.NDArray[np.float32]

MEMORY_SECONDS = 30.0
"""Of the running mean: an answer so long ago counts e times less than the last one."""
QUEUED_BLOCKS = 1000


def listen(
    run: RunFolder, file: Path | None, device: str | None, pace: float
) -> Iterator[dict[str, Any]]:
    """Yield an answer for each segment, as soon as it is over; see `Domain.listen`."""
    config = run.read_config(AcousticConfig)
    classes = run_classes(run)
    model = load_model(run.model_file)
    if not isinstance(model.features, AcousticFeatures):
        raise DataError(f"{run.path}: was trained on spectra, so it cannot listen to sound")
    routed = model.settings["num_experts"] > 1

    def answer(waveform: Any) -> Any:
        outputs = model.of_raw(waveform)
        return ops.softmax(outputs["logits"]), expert_share(outputs["expert_weights"])

    run_model = in_batches(model, answer, 1)
    data = config.data
    run_model(np.zeros((1, data.samples), np.float32))  # compiled before the clock runs
    blocks = (
        _of_device(device, data.sample_rate)
        if file is None
        else mono_blocks(file, data.sample_rate)
    )
    keep = float(np.exp(-data.hop / data.sample_rate / MEMORY_SECONDS))
    mean: Any = None
    started = time.monotonic()
    for start, samples in segments_of(blocks, data):
        end = start / data.sample_rate + data.segment
        if file is not None and pace > 0:
            time.sleep(max(started + end / pace - time.monotonic(), 0.0))
        probability, share = run_model(samples[None])
        mean = probability if mean is None else keep * mean + (1 - keep) * probability
        least = config.evaluation.unknown_below
        yield {
            "start": round(start / data.sample_rate, 3),
            "end": round(end, 3),
            "class": named(probability, classes, least)[0],
            "confidence": float(probability.max()),
            "running_class": named(mean, classes, least)[0],
            "running_confidence": float(mean.max()),
            "expert": int(share.argmax()) if routed else None,
        }


def _of_device(device: str | None, sample_rate: int) -> Iterator[Samples]:
    """Sound of a device, until it is stopped."""
    try:
        import sounddevice
    except ImportError:
        raise ConfigError(
            "sounddevice: not installed; install by pip install 'moe-apps[sounddevice]', or give "
            "--file"
        ) from None
    except OSError as error:  # PortAudio is missing
        raise ConfigError(f"sounddevice: {error}; install PortAudio, or give --file") from None
    waiting: queue.Queue[Samples] = queue.Queue(QUEUED_BLOCKS)

    def heard(block: Any, frames: int, moment: Any, status: Any) -> None:
        if not waiting.full():
            waiting.put_nowait(block.mean(axis=1).astype(np.float32))

    chosen: Any = int(device) if device is not None and device.isdigit() else device
    try:
        rate = int(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        stream = sounddevice.InputStream(rate, device=chosen, dtype="float32", callback=heard)
    except (ValueError, sounddevice.PortAudioError) as error:
        raise ConfigError(f"--device {device or '(default)'}: {error}") from None
    resample = resampler(rate, sample_rate)
    with stream:
        while True:
            found = resample(waiting.get(), False)
            if len(found):
                yield found
