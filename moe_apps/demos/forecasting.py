"""The tab of forecasting: a table in, what follows it out."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd

from moe_apps.demos.answering import PROGRESS, answering, shown_in
from moe_apps.demos.forecasting_answer import experts_chart, forecast_chart, how_sure, reading
from moe_apps.demos.trained_run import TrainedRun, once_a_run
from moe_apps.errors import DataError
from moe_apps.pipelines.forecasting.config import DataSettings, ForecastingConfig
from moe_apps.pipelines.run_folder import RunFolder

TITLE = "Forecasting"
NO_FILE = "Choose a table first: upload one, or take a sample."
FIND = "find it"
NO_TIME = "rows have no time"
LEVEL = 80.0
"""Of the interval, in percent, where the run has none of its own."""
MOST_WINDOWS = 200
"""Last windows of the file by whose errors the interval is made."""
MOST_SERIES = 200
"""Series that are offered."""
LONGEST = 240
SAMPLE_ROWS = 1200


@once_a_run
def _loaded(run: RunFolder) -> Any:
    from moe_apps.pipelines.forecasting.stored_scale import stored_scale
    from moe_apps.pipelines.tracked_run import load_model

    model = load_model(run.model_file)
    return model, run.read_config(ForecastingConfig), stored_scale(run), {}


class Forecaster:
    """What the buttons of the tab do.

    Attributes:
        source: Where the model comes from.
    """

    def __init__(self, source: TrainedRun) -> None:
        self.source = source

    @answering
    def columns(self, file: str | None, time_column: str, id_columns: list[str]) -> tuple[Any, ...]:
        """What is in a table: columns for time and ids, series to choose from, notes.

        Args:
            file: CSV or Parquet file.
            time_column: Name of a column, `FIND` or `NO_TIME`.
            id_columns: Columns that tell series apart; empty: found.
        """
        from moe_apps.pipelines.forecasting.tables import load_table

        if not file:
            return gr.update(choices=[FIND, NO_TIME]), gr.update(choices=[]), gr.update(), ""
        names = list(load_table(file).frame.columns)
        found = self.source.find()
        data = found.read_config(ForecastingConfig).data if found else DataSettings()
        panel = _panel(data, file, time_column, id_columns)
        series = [one.name for one in panel.series][:MOST_SERIES]
        step = "rows without time" if panel.step is None else f"steps of {panel.step.freqstr}"
        notes = [f"{len(panel.series)} series of up to {max(map(len, panel.series)):,} {step}."]
        return (
            gr.update(choices=[FIND, NO_TIME, *names]),
            gr.update(choices=names),
            gr.update(choices=series, value=series[0]),
            "  \n".join([*notes, *panel.notes]),
        )

    @answering
    def forecast(
        self,
        file: str | None,
        time_column: str = FIND,
        id_columns: list[str] | None = None,
        series: str | None = None,
        horizon: float = 24,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        """Forecast one series of a table.

        Args:
            file: CSV or Parquet file.
            time_column: Name of a column, `FIND` or `NO_TIME`.
            id_columns: Columns that tell series apart; empty: found.
            series: Its name; by default the first.
            horizon: Steps.
            progress: Gradio's.

        Returns:
            forecast, experts, words, numbers, file of the numbers.
        """
        from moe_apps.pipelines.forecasting.baselines import SeasonalNaive
        from moe_apps.pipelines.forecasting.data import season
        from moe_apps.pipelines.forecasting.panel import Notes
        from moe_apps.pipelines.forecasting.prediction import forecast_table
        from moe_apps.pipelines.forecasting.unit_forecaster import UnitForecaster

        if not file:
            raise DataError(NO_FILE)
        run = self.source.get(shown_in(progress))
        model, config, scale, compiled = _loaded(run)
        progress(0.1, desc="reading")
        panel = _panel(config.data, file, time_column, id_columns or [])
        config, level = _for_page(config, int(horizon))
        names = [one.name for one in panel.series]
        if series and series not in names:
            raise DataError(f"{file}: has no series '{series}'; found {', '.join(names[:10])}")
        chosen = panel.series[names.index(series) if series else 0]
        forecaster = UnitForecaster(
            model, config, replace(panel, series=(chosen,)), scale, compiled
        )
        progress(0.3, desc="forecasting")
        notes = Notes()
        table = forecast_table(forecaster, notes)
        baseline = SeasonalNaive(len(table), season(config, panel))
        errors = [
            np.abs(forecaster.recent_errors(chosen, MOST_WINDOWS, forecast=answer))
            for answer in (
                None,
                lambda origins: np.concatenate(
                    [baseline.forecast(one.values[None, :row]) for one, row in origins]
                ),
            )
        ]
        past = pd.Series(chosen.values, panel.times(chosen))[-config.data.look_back :]
        chart = forecast_chart(past, table, baseline.forecast(chosen.values[None])[0], level)
        words = [how_sure(chosen.name, len(past), len(table), level, errors, table)]
        experts = None
        if model.num_experts:
            weights = forecaster.routing_of_ends()[0]  # (tokens, layers, experts)
            experts = experts_chart(past.index, weights)
            words.append(reading(run, weights))
        words += [*notes.lines(), *panel.notes]
        words.append(self.source.about(run))
        written = Path(tempfile.mkdtemp()) / f"{Path(file).stem}_forecast.csv"
        table.to_csv(written, index=False)
        shown = table.assign(time=table["time"].astype(str)).round(4)
        return chart, experts, "\n\n".join(filter(None, words)), shown, str(written)


def _panel(data: DataSettings, file: str, time_column: str, id_columns: list[str]) -> Any:
    """The series of a table, read as the run's own was as far as it has the same columns."""
    from moe_apps.pipelines.forecasting import readers
    from moe_apps.pipelines.forecasting.data import read_data
    from moe_apps.pipelines.forecasting.tables import load_table

    there = set(load_table(file).frame.columns)

    def known(names: list[str] | None) -> list[str] | None:
        return names if names is not None and set(names) <= there else None

    time = data.time_column if data.time_column in {*there, readers.NO_TIME} else None
    if time_column != FIND:
        time = readers.NO_TIME if time_column == NO_TIME else time_column
    ids = known(data.id_columns)
    update = {
        "time_column": time,
        "id_columns": id_columns or ids,
        "value_columns": known(data.value_columns),
        "frequency": None,
    }
    return read_data(data.model_copy(update=update), file)


def _for_page(config: ForecastingConfig, horizon: int) -> tuple[ForecastingConfig, float]:
    """The run's settings with the visitor's horizon, and the level of the interval."""
    levels = config.interval_levels
    intervals: dict[str, Any] = {"windows": MOST_WINDOWS}
    if not levels:
        intervals["levels"] = (LEVEL,)
    return (
        config.model_copy(
            update={
                "data": config.data.model_copy(update={"horizon": horizon}),
                "intervals": config.intervals.model_copy(update=intervals),
            }
        ),
        min(levels, default=LEVEL),
    )


def _samples() -> list[str]:
    """Tables of the sample data: the weather at each airport, to a different day."""
    from moe_apps.pipelines.forecasting.sample_data import sample_panel

    try:
        panel = sample_panel()
    except DataError:  # the package with the data is not installed
        return []
    folder, files = Path(tempfile.mkdtemp()), []
    for number, airport in enumerate(dict.fromkeys(s.name.split("/")[0] for s in panel.series)):
        own = [one for one in panel.series if one.name.startswith(f"{airport}/")]
        frame = pd.DataFrame(
            {one.name.split("/")[1]: pd.Series(one.values, panel.times(one)) for one in own}
        )
        last = len(frame) - 1500 * number
        file = folder / f"weather at {airport}.csv"
        frame.iloc[last - SAMPLE_ROWS : last].to_csv(file, index_label="time")
        files.append(str(file))
    return files


def tab(source: TrainedRun) -> None:
    """Fill the tab that is open in Gradio's context."""
    forecaster = Forecaster(source)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            file = gr.File(
                label="Table: CSV or Parquet",
                file_types=[".csv", ".tsv", ".txt", ".parquet", ".pq"],
                height=150,
                elem_id="forecast-file",
            )
            samples = _samples()
            if samples:
                gr.Examples(samples, file, label="Samples")
            series = gr.Dropdown(
                [], label="Series to forecast", allow_custom_value=True, elem_id="forecast-series"
            )
            horizon = gr.Slider(1, LONGEST, value=24, step=1, label="Steps to forecast")
            with gr.Accordion("How the table is read", open=False):
                time_column = gr.Dropdown(
                    [FIND, NO_TIME], value=FIND, label="Column of the time", allow_custom_value=True
                )
                id_columns = gr.Dropdown(
                    [],
                    multiselect=True,
                    label="Columns that tell series apart (none: found)",
                    allow_custom_value=True,
                )
                found = gr.Markdown()
            start = gr.Button("Forecast", variant="primary", elem_id="forecast-start")
        with gr.Column(scale=5, min_width=300):
            chart = gr.Plot(label="Forecast", elem_id="forecast-chart")
            words = gr.Markdown(elem_id="forecast-words")
            experts = gr.Plot(
                label="Weight of each expert by time step", elem_id="forecast-experts"
            )
            with gr.Accordion("Numbers", open=False):
                numbers = gr.Dataframe(label="Forecast", interactive=False, max_height=300)
                written = gr.DownloadButton("Download as CSV")
    read = [file, time_column, id_columns]
    shown = [time_column, id_columns, series, found]
    gr.on(
        [file.change, time_column.input, id_columns.input],
        forecaster.columns,
        read,
        shown,
        api_name="forecast_columns",
    )
    start.click(
        forecaster.forecast,
        [*read, series, horizon],
        [chart, experts, words, numbers, written],
        api_name="forecast",
        concurrency_id="forecasting",
    )
