"""The tab of acoustics: a recording in, what is heard out."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import pandas as pd

from moe_apps.demos.answering import PROGRESS, answering, shown_in
from moe_apps.demos.reading import expert_reading
from moe_apps.demos.trained_run import TrainedRun, once_a_run
from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.acoustic.config import AcousticConfig, GeneratorSettings
from moe_apps.pipelines.run_folder import RunFolder

TITLE = "Acoustic"
NO_FILE = "Choose a recording first: upload one, use the microphone, or take a sample."
LONGEST = 120.0
"""Seconds of a recording that are listened to."""
SAMPLES, SAMPLE_SECONDS = 4, 15.0
SEED = 77
"""Of the samples; runs have small numbers."""


class Loaded(NamedTuple):
    """What is made of a run: its settings and classes, and how sound becomes answers."""

    config: AcousticConfig
    classes: tuple[str, ...]
    extractor: Any
    answer: Any


@once_a_run
def _loaded(run: RunFolder) -> Loaded:
    from moe_apps.models.acoustic import AcousticFeatures
    from moe_apps.pipelines.acoustic import answers
    from moe_apps.pipelines.acoustic.extraction import Extractor
    from moe_apps.pipelines.acoustic.prediction import run_classes
    from moe_apps.pipelines.tracked_run import load_model

    config = run.read_config(AcousticConfig)
    model = load_model(run.model_file)
    if not isinstance(model.features, AcousticFeatures):
        raise DataError(f"{run.path}: was trained on spectra, so it cannot listen to sound")
    data = config.data.model_copy(update={"max_hours": LONGEST / 3600, "cache": None})
    config = config.model_copy(update={"data": data})
    answer = answers.answering(model, config.evaluation.batch_size)
    return Loaded(config, run_classes(run), Extractor(model.features, data), answer)


class Listener:
    """What the buttons of the tab do.

    Attributes:
        source: Where the model comes from.
    """

    def __init__(self, source: TrainedRun) -> None:
        self.source = source

    @answering
    def recognise(self, sound: str | None, progress: gr.Progress = PROGRESS) -> tuple[Any, ...]:
        """Say what is heard in a recording.

        Args:
            sound: File of the recording.
            progress: Gradio's.

        Returns:
            votes, figure, words, table of segments, files of it.
        """
        from moe_apps.demos.acoustic_chart import listening_chart
        from moe_apps.pipelines.acoustic.extraction import Segments
        from moe_apps.pipelines.acoustic.prediction import answer_rows, selections
        from moe_apps.pipelines.acoustic.sound_files import mono_blocks

        if not sound:
            raise DataError(NO_FILE)
        file = Path(sound)
        run = self.source.get(shown_in(progress))
        loaded = _loaded(run)
        data = loaded.config.data
        progress(0.2, desc="listening")
        blocks = list(mono_blocks(file, data.sample_rate, LONGEST))
        (start, inputs), _ = loaded.extractor.of_blocks(blocks)
        if not len(start):
            raise DataError(f"{file}: is shorter than a segment of {data.segment:g} s")
        number = np.zeros(len(start), np.int64)
        segments = Segments(inputs, number, start, number - 1)
        progress(0.6, desc="recognising")
        answer = loaded.answer(segments)
        waveform = np.concatenate(blocks)
        seconds = len(waveform) / data.sample_rate
        table = answer_rows(file.name, segments, seconds, answer, loaded.classes, loaded.config)
        votes = answer.probability.mean(axis=0)
        chart = listening_chart(
            waveform,
            data.sample_rate,
            segments,
            answer,
            loaded.classes,
            data.segment,
            f"{loaded.config.features.kind} band",
        )
        words = [_how_sure(run, table, seconds)]
        if answer.share is not None:
            words.append(_reading(run, answer.share.mean(axis=0)))
        words.append(self.source.about(run))
        folder = Path(tempfile.mkdtemp())
        table.to_csv(folder / f"{file.stem}.csv", index=False)
        raven = folder / f"{file.stem}.txt"
        selections(table, data.sample_rate).to_csv(raven, index=False, sep="\t")
        return (
            {name: float(share) for name, share in zip(loaded.classes, votes, strict=True)},
            chart,
            "\n\n".join(filter(None, words)),
            table.drop(columns="recording").round(3),
            [str(folder / f"{file.stem}.csv"), str(raven)],
        )


def _how_sure(run: RunFolder, table: pd.DataFrame, seconds: float) -> str:
    """The vote, how many segments agree with it, and how often such votes are right."""
    whole, parts = table.iloc[-1], table[table["level"] == "segment"]
    same = int((parts["class"] == whole["class"]).sum())
    lines = [
        f"**{whole['class']}**, with {whole['confidence']:.0%} by the mean of {len(parts)} "
        f"segments in {seconds:.1f} s; {same} of them say the same alone."
    ]
    if run.metrics_file.is_file():
        test = run.read_metrics()["test"]
        lines.append(
            f"How sure: on test recordings this model is right in {test['accuracy']:.0%}, and "
            f"what it gives as its confidence is off by {test['ece']:.0%} on average."
        )
    if seconds >= LONGEST:
        lines.append(f"Only the first {LONGEST:g} s were listened to.")
    return "  \n".join(lines)


def _reading(run: RunFolder, share: Any) -> str:
    by_class = {}
    if run.metrics_file.is_file():
        by_class = run.read_metrics()["routing"].get("by_class", {})
    return expert_reading(share, by_class, "class")


def _samples() -> list[str]:
    """Made recordings, one of each class of ship."""
    from moe_apps.pipelines.acoustic.generator import made_recordings
    from moe_apps.pipelines.acoustic.sound_files import check_installed

    try:
        check_installed()
    except ConfigError:
        return []
    import soundfile

    settings = GeneratorSettings(recordings=8, seconds=SAMPLE_SECONDS, interferer=0.0)
    folder, files = Path(tempfile.mkdtemp()), []
    for one in islice(made_recordings(settings, SEED), SAMPLES):
        file = folder / f"{one.label} ({one.facts.get('sub_type', 'sea')}).wav"
        loudest = max(float(np.abs(one.waveform).max()), 1e-9)
        soundfile.write(file, one.waveform * (0.8 / loudest), settings.sample_rate)
        files.append(str(file))
    return files


def tab(source: TrainedRun) -> None:
    """Fill the tab that is open in Gradio's context."""
    listener = Listener(source)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            sound = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label="Recording",
                elem_id="acoustic-sound",
            )
            start = gr.Button("Recognise", variant="primary", elem_id="acoustic-start")
            samples = _samples()
            if samples:
                gr.Examples(samples, sound, label="Samples: made recordings of ships")
            votes = gr.Label(label="Vote of the segments", elem_id="acoustic-votes")
        with gr.Column(scale=5, min_width=300):
            chart = gr.Plot(label="What was heard", elem_id="acoustic-chart")
            words = gr.Markdown(elem_id="acoustic-words")
            with gr.Accordion("Segments", open=False):
                table = gr.Dataframe(label="Segments", interactive=False, max_height=300)
                files = gr.File(
                    label="As CSV, and as a selection table of Raven", file_count="multiple"
                )
    start.click(
        listener.recognise,
        sound,
        [votes, chart, words, table, files],
        api_name="recognise",
        concurrency_id="acoustic",
    )
