"""The tab of trajectories: tracks in, where a vehicle goes and what it intends out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from moe_apps.demos.answering import PROGRESS, answering, shown_in
from moe_apps.demos.trained_run import TrainedRun, once_a_run
from moe_apps.errors import DataError
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.trajectory.config import SimulatorSettings, TrajectoryConfig

TITLE = "Trajectory"
NO_FILE = "Choose tracks first: upload a file, or take a sample."
MOST_VEHICLES = 200
"""Vehicles that are offered."""
AT_ONCE = 64
"""Windows that are predicted together."""
SCENES = ("light traffic", "medium traffic", "dense traffic")
SEED = 77
"""Of the samples; runs have small numbers."""


@once_a_run
def _loaded(run: RunFolder) -> Any:
    from moe_apps.pipelines.tracked_run import load_model
    from moe_apps.pipelines.trajectory import answers

    return run.read_config(TrajectoryConfig), answers.answering(load_model(run.model_file), AT_ONCE)


class Predictor:
    """What the buttons of the tab do.

    Attributes:
        source: Where the model comes from.
    """

    def __init__(self, source: TrainedRun) -> None:
        self.source = source
        self._last: tuple[Any, Any] = (None, None)

    @answering
    def vehicles(self, file: str | None) -> tuple[Any, ...]:
        """The vehicles of a file that can be predicted, those that change lanes first."""
        if not file:
            return gr.update(choices=[]), gr.update(), ""
        from moe_apps.demos.trajectory_answer import choices_of, moments_of, name_and_number

        cutter = self._cutter(self._config(), file)
        choices = choices_of(cutter)
        moments = moments_of(cutter, name_and_number(choices[0][1]), file)
        lines = [f"{len(choices)} vehicles with a whole history.", *cutter.tracks.notes]
        return (
            gr.update(choices=choices[:MOST_VEHICLES], value=choices[0][1]),
            moments,
            "  \n".join(lines),
        )

    @answering
    def moments(self, file: str | None, vehicle: str | None) -> Any:
        """From when to when a vehicle can be predicted, and the moment to look at first."""
        if not file or not vehicle:
            return gr.update()
        from moe_apps.demos.trajectory_answer import moments_of, name_and_number

        return moments_of(self._cutter(self._config(), file), name_and_number(vehicle), file)

    @answering
    def predict(
        self,
        file: str | None,
        vehicle: str | None = None,
        moment: float = 0.0,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        """Predict a vehicle at a moment, and its intention at all moments.

        Args:
            file: Tracks in any format that is read.
            vehicle: "RECORDING #NUMBER"; by default the first.
            moment: Seconds in the recording's time; the nearest one that can be predicted is taken.
            progress: Gradio's.

        Returns:
            replay, intentions over time, gates over time, words.
        """
        from moe_apps.demos import trajectory_answer as shown
        from moe_apps.demos.trajectory_replay import replay_chart

        if not file:
            raise DataError(NO_FILE)
        run = self.source.get(shown_in(progress))
        config, answer_of = _loaded(run)
        progress(0.1, desc="reading")
        cutter = self._cutter(config, file)
        chosen = shown.name_and_number(vehicle or shown.choices_of(cutter)[0][1])
        rows = shown.rows_of(cutter, chosen, file)
        progress(0.3, desc="predicting")
        answer = answer_of(cutter.cut(rows, future=False))
        time = cutter.tracks.table["time"].to_numpy()[rows]
        here = int(np.abs(time - moment).argmin())
        single = answer.take(slice(here, here + 1))
        row = int(rows[here])
        words = [shown.words_of(cutter, row, single), shown.reading_of(run, single)]
        words.append(self.source.about(run))
        return (
            replay_chart(cutter, row, single),
            shown.intentions_over_time(time, answer, time[here]),
            shown.gates_over_time(time, answer, time[here]),
            "\n\n".join(filter(None, words)),
        )

    def _config(self) -> TrajectoryConfig:
        """Settings of the run, or the defaults where there is none yet."""
        found = self.source.find()
        return found.read_config(TrajectoryConfig) if found else TrajectoryConfig()

    def _cutter(self, config: TrajectoryConfig, file: str) -> Any:
        """The tracks of a file; those of the last one are kept."""
        from moe_apps.pipelines.trajectory.data import load_tracks
        from moe_apps.pipelines.trajectory.windows import WindowCutter

        key = (file, config.data.model_dump_json(), config.model.sites)
        last, cutter = self._last  # at once: another visitor may ask meanwhile
        if last != key:
            data = config.data.model_copy(update={"format": "auto"})
            tracks = load_tracks(data, config.seed, file)
            cutter = WindowCutter(tracks, data, config.model.sites)
            self._last = (key, cutter)
        if not len(cutter.rows(future=False)):
            raise DataError(
                f"{file}: no track is as long as the history of {config.data.history:g} s"
            )
        return cutter


def _samples() -> list[str]:
    """Scenes of the simulator, from light to dense traffic."""
    from moe_apps.pipelines.trajectory.simulator import simulate

    settings = SimulatorSettings(roads=len(SCENES), vehicles=30, seconds=40)
    table = simulate(settings, SEED).table.drop(columns="frame")
    folder, files = Path(tempfile.mkdtemp()), []
    for (_, rows), scene in zip(table.groupby("recording"), SCENES, strict=True):
        file = folder / f"{scene}.csv"
        _numbered(rows, scene).to_csv(file, index=False)
        files.append(str(file))
    return files


def _numbered(rows: pd.DataFrame, scene: str) -> pd.DataFrame:
    """The rows of one road, with vehicles from 1 on."""
    return rows.assign(recording=scene, vehicle=pd.factorize(rows["vehicle"])[0] + 1).round(3)


def tab(source: TrainedRun) -> None:
    """Fill the tab that is open in Gradio's context."""
    from moe_apps.demos.trajectory_replay import PLAY

    predictor = Predictor(source)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            file = gr.File(
                label="Tracks, in any format that is read",
                height=150,
                elem_id="trajectory-file",
            )
            gr.Examples(_samples(), file, label="Samples")
            vehicle = gr.Dropdown(
                [], label="Vehicle", allow_custom_value=True, elem_id="trajectory-vehicle"
            )
            moment = gr.Slider(0, 3600, value=0, step=0.2, label="Moment in seconds")
            start = gr.Button("Predict", variant="primary", elem_id="trajectory-start")
            found = gr.Markdown()
        with gr.Column(scale=5, min_width=300):
            replay = gr.Plot(
                label="Replay",
                elem_id="trajectory-replay",
            )
            play = gr.Button(
                "Play, or drag the slider over history and horizon",
                size="sm",
                elem_id="trajectory-play",
            )
            words = gr.Markdown(elem_id="trajectory-words")
    with gr.Row():
        intentions = gr.Plot(label="Intention over time", elem_id="trajectory-intentions")
        gates = gr.Plot(label="Weight of each expert for each task", elem_id="trajectory-gates")
    file.change(predictor.vehicles, file, [vehicle, moment, found], api_name="trajectory_vehicles")
    vehicle.input(predictor.moments, [file, vehicle], moment, api_name="trajectory_moments")
    start.click(
        predictor.predict,
        [file, vehicle, moment],
        [replay, intentions, gates, words],
        api_name="trajectory",
        concurrency_id="trajectory",
    )
    play.click(None, js=PLAY)
