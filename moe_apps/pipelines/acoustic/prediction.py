"""Answers of a trained run for new sounds, from the command line and for a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from keras import ops

from moe_apps.errors import DataError
from moe_apps.models.acoustic import AcousticFeatures, CMoE
from moe_apps.pipelines.acoustic.answers import Answer, answering, expert_share
from moe_apps.pipelines.acoustic.building import CLASSES_FILE
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.extraction import BATCH, Segments, batched
from moe_apps.pipelines.acoustic.segments import segments_of
from moe_apps.pipelines.acoustic.sound_files import is_sound, mono_blocks, sound_facts
from moe_apps.pipelines.acoustic.spectra_file import SPECTRA_SUFFIX, read_spectra
from moe_apps.pipelines.answer_table import check_writable, write_table
from moe_apps.pipelines.atomic_files import read_json, written_whole
from moe_apps.pipelines.inference import in_batches
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model

Floats = npt.NDArray[np.floating]

RAVEN_SUFFIX = ".txt"
UNKNOWN = "unknown"


def predict(run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
    """Answer for a sound file, all sound files of a folder, or an .npz of spectra.

    The table has a row for each segment and, after those of a recording, one for the recording
    (mean of its segments). Columns: `level` (segment or recording), `recording`, `start`, `end`
    (seconds), `class`, `confidence`, `expert` (the one with the largest share) and `p_<class>`.
    `output` is CSV, Parquet by its suffix (.parquet, .pq), or with .txt a selection table of
    Raven, of the segments. A file of a folder that cannot be read is skipped, and noted.

    Returns:
        `rows`, `output` and `notes`.
    """
    check_writable(output)
    config = run.read_config(AcousticConfig)
    classes = run_classes(run)
    model = load_model(run.model_file)
    notes: list[str] = []
    parts = [
        answer_rows(name, segments, seconds, answer, classes, config)
        for name, segments, seconds, answer in _answers(config, model, input, notes)
    ]
    if not parts:
        raise DataError(f"{input}: nothing that can be answered for; {notes[0]}")
    table = pd.concat(parts, ignore_index=True)
    if output.suffix.lower() == RAVEN_SUFFIX:
        table = selections(table, config.data.sample_rate)
        with written_whole(output) as file:
            table.to_csv(file, index=False, sep="\t")
    else:
        write_table(table, output)
    return {"rows": len(table), "output": str(output), "notes": notes}


def request(run: RunFolder, input: Path) -> dict[str, Any]:
    """What a served model is asked for a file; see `Domain.request`."""
    config = run.read_config(AcousticConfig)
    if input.suffix.lower() == SPECTRA_SUFFIX:
        return {"spectra": read_spectra(input, labelled=False).spectra}
    if input.is_dir():
        raise DataError(f"{input}: is a folder; a request is made of one sound file")
    rate, most = config.data.sample_rate, 3600 * config.data.max_hours
    return {"waveform": np.concatenate(list(mono_blocks(input, rate, most)))[None]}


def run_classes(run: RunFolder) -> tuple[str, ...]:
    """Names of a run's classes, in the order of their numbers."""
    return tuple(read_json(run.path / CLASSES_FILE)["classes"])


def selections(table: pd.DataFrame, sample_rate: int) -> pd.DataFrame:
    """A selection table as Raven reads it, of the rows that are segments."""
    rows = table[table["level"] == "segment"]
    return pd.DataFrame(
        {
            "Selection": np.arange(1, len(rows) + 1),
            "View": "Spectrogram 1",
            "Channel": 1,
            "Begin Time (s)": rows["start"].to_numpy(),
            "End Time (s)": rows["end"].to_numpy(),
            "Low Freq (Hz)": 0,
            "High Freq (Hz)": sample_rate // 2,
            "Begin File": [Path(name).name for name in rows["recording"]],
            "File Offset (s)": rows["start"].to_numpy(),
            "Class": rows["class"].to_numpy(),
            "Confidence": rows["confidence"].to_numpy(),
        }
    )


def _answers(
    config: AcousticConfig, model: CMoE, input: Path, notes: list[str]
) -> Iterator[tuple[str, Segments | None, float, Answer]]:
    """Name, segments, seconds and answer of each recording of a file or folder.

    Segments are None for spectra, which are whole recordings. `notes` gets what is skipped.
    """
    if not input.exists():
        raise DataError(f"{input}: no such file or folder")
    if not isinstance(model.features, AcousticFeatures):
        yield from _of_spectra(config, model, input)
        return
    run = in_batches(model, lambda waveform: _of_waveform(model, waveform), BATCH)
    files = [input] if input.is_file() else sorted(p for p in input.rglob("*") if is_sound(p))
    if not files:
        raise DataError(f"{input}: no sound files (.wav, .flac, .ogg, .mp3) in this folder")
    for file in files:
        try:
            start, answer = _streamed(file, run, config)
            seconds = min(sound_facts(file).seconds, 3600 * config.data.max_hours)
        except DataError as error:
            if input.is_file():
                raise
            notes.append(f"skipped: {error}")
            continue
        name = file.name if input.is_file() else file.relative_to(input).as_posix()
        if not len(start):
            notes.append(f"skipped: {file}: {seconds:.1f} s are shorter than a segment")
            continue
        count = np.zeros(len(start), np.int64)
        yield name, Segments({}, count, start, count), seconds, answer


def _of_waveform(model: CMoE, waveform: Any) -> tuple[Any, Any]:
    outputs = model.of_raw(waveform)
    return ops.softmax(outputs["logits"]), expert_share(outputs["expert_weights"])


def _streamed(
    file: Path, run: Callable[..., Any], config: AcousticConfig
) -> tuple[npt.NDArray[np.float64], Answer]:
    """Starts and answers of a file's segments; nothing else of it stays in memory."""
    rate, most = config.data.sample_rate, 3600 * config.data.max_hours
    starts: list[int] = []
    found = []
    for first, waveform in batched(segments_of(mono_blocks(file, rate, most), config.data)):
        starts += first
        found.append(run(waveform))
    probability, share = (
        (np.concatenate(part) for part in zip(*found, strict=True))
        if found
        else (np.zeros((0, 1)), np.zeros((0, 1)))
    )
    routed = share.shape[1] > 1
    return np.array(starts) / rate, Answer(probability, share=share if routed else None)


def _of_spectra(
    config: AcousticConfig, model: CMoE, input: Path
) -> Iterator[tuple[str, None, float, Answer]]:
    if input.suffix.lower() != SPECTRA_SUFFIX:
        raise DataError(f"{input}: this run was trained on spectra; expected an .npz of them")
    found = read_spectra(input, labelled=False)
    if found.lengths != model.features.lengths:
        raise DataError(
            f"{input}: spectra have {found.lengths} bins, this run's have {model.features.lengths}"
        )
    count = np.arange(len(found.recordings))
    inputs = {name: np.asarray(v) for name, v in model.features(found.spectra).items()}
    answer = answering(model, config.evaluation.batch_size)(
        Segments(inputs, count, np.zeros(len(count)), np.zeros(len(count), np.int64))
    )
    for row, one in enumerate(found.recordings):
        share = None if answer.share is None else answer.share[row : row + 1]
        yield one.name, None, float("nan"), Answer(answer.probability[row : row + 1], share=share)


def answer_rows(
    name: str,
    segments: Segments | None,
    seconds: float,
    answer: Answer,
    classes: tuple[str, ...],
    config: AcousticConfig,
) -> pd.DataFrame:
    """The rows of `predict` for one recording: its segments, then the recording as a whole."""
    mean = Answer(
        answer.probability.mean(axis=0, keepdims=True),
        share=None if answer.share is None else answer.share.mean(axis=0, keepdims=True),
    )
    voted = _part("recording", name, np.zeros(1), np.full(1, seconds), mean, classes, config)
    if segments is None:
        return voted
    end = np.minimum(segments.start + config.data.segment, seconds)
    own = _part("segment", name, segments.start, end, answer, classes, config)
    return pd.concat([own, voted], ignore_index=True)


def _part(
    level: str,
    name: str,
    start: Floats,
    end: Floats,
    answer: Answer,
    classes: tuple[str, ...],
    config: AcousticConfig,
) -> pd.DataFrame:
    confidence = answer.probability.max(axis=1)
    columns: dict[str, Any] = {
        "level": level,
        "recording": name,
        "start": start.round(6),
        "end": end.round(6),
        "class": named(answer.probability, classes, config.evaluation.unknown_below),
        "confidence": confidence.round(6),
    }
    if answer.share is not None:
        columns["expert"] = answer.share.argmax(axis=1)
    columns |= {f"p_{c}": answer.probability[:, n].round(6) for n, c in enumerate(classes)}
    return pd.DataFrame(columns)


def named(probability: Floats, classes: tuple[str, ...], unknown_below: float) -> list[str]:
    """Name of the likeliest class of each row, or "unknown" where nothing is likely enough.

    >>> named(np.array([[0.9, 0.1], [0.5, 0.5]]), ("ship", "sea"), 0.6)
    ['ship', 'unknown']
    """
    return [
        UNKNOWN if row.max() < unknown_below else classes[int(row.argmax())] for row in probability
    ]
