"""Predictions of a trained run for new tracks, from the command line and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.answer_table import check_writable, write_table
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.domain import Served
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model
from moe_apps.pipelines.trajectory.answers import Answer, answering
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import load_tracks
from moe_apps.pipelines.trajectory.labels import INTENTIONS
from moe_apps.pipelines.trajectory.pipeline import EXAMPLE_FILE
from moe_apps.pipelines.trajectory.served import served_model
from moe_apps.pipelines.trajectory.windows import WindowCutter

Floats = npt.NDArray[np.floating]


def predict(run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
    """Predict what follows the end of each track of a file and write it as a long table.

    Columns of the output: `recording`, `vehicle`, `time` (seconds, in the recording's time),
    `ahead` (seconds from the track's end), `x`, `y` (metres, in the road frame that the reader
    made), with Gaussians their standard deviations `x_deviation` and `y_deviation`, and the
    probabilities of `keep`, `left` and `right`. `output` is CSV, or Parquet by its suffix
    (.parquet, .pq).

    Returns:
        `rows`, `output` and `notes`.
    """
    check_writable(output)
    config = run.read_config(TrajectoryConfig)
    cutter, rows = _ends(config, input)
    tracks = cutter.tracks
    answer = answering(
        load_model(run.model_file), min(config.evaluation.batch_size, max(len(rows), 1))
    )(cutter.cut(rows, future=False))
    table = _table(answer, cutter, rows, config)
    write_table(table, output)
    everyone = len(tracks.table[["recording", "vehicle"]].drop_duplicates())
    notes = list(tracks.notes)
    if len(rows) < everyone:
        notes.append(
            f"{everyone - len(rows)} of {everyone} vehicles have no history of "
            f"{config.data.history:g} s without a gap: nothing is predicted for them"
        )
    return {"rows": len(table), "output": str(output), "notes": notes}


def request(run: RunFolder, input: Path) -> dict[str, Any]:
    """What a served model is asked for the ends of the tracks of a file; see `Domain.request`."""
    cutter, rows = _ends(run.read_config(TrajectoryConfig), input)
    inputs: dict[str, Any] = dict(cutter.cut(rows, future=False).inputs)
    origin = cutter.position[rows].astype(np.float32)
    inputs["ego"] = inputs["ego"] + origin[:, None]
    inputs["neighbours"] = (
        inputs["neighbours"] + origin[:, None, None] * inputs["present"][..., None]
    )
    return inputs


def _ends(config: TrajectoryConfig, input: Path) -> tuple[WindowCutter, npt.NDArray[np.int64]]:
    """The tracks of a file, and the row at which the last piece of each vehicle ends."""
    tracks = load_tracks(config.data, config.seed, input)
    cutter = WindowCutter(tracks, config.data, config.model.sites)
    rows = cutter.ends()
    # Of a vehicle that was lost and found again, the last piece counts.
    owner = tracks.table.loc[rows, ["recording", "vehicle"]].reset_index(drop=True)
    rows = rows[~owner.duplicated(keep="last").to_numpy()]
    if not len(rows):
        longest = (cutter.last - cutter.first + 1).max() / config.data.rate
        raise DataError(
            f"{input}: no track is as long as the history of {config.data.history:g} s; "
            f"the longest without a gap has {longest:g} s"
        )
    return cutter, rows


def _table(
    answer: Answer, cutter: WindowCutter, rows: npt.NDArray[np.int64], config: TrajectoryConfig
) -> pd.DataFrame:
    assert answer.forecast is not None and answer.probability is not None
    steps = config.data.horizon_steps
    last = cutter.tracks.table.iloc[rows]
    ahead = np.arange(1, steps + 1) / config.data.rate
    places = answer.forecast + cutter.position[rows][:, None]
    columns: dict[str, Any] = {
        "recording": np.repeat(last["recording"].to_numpy(), steps),
        "vehicle": np.repeat(last["vehicle"].to_numpy(), steps),
        "time": (last["time"].to_numpy()[:, None] + ahead).reshape(-1).round(6),
        "ahead": np.tile(ahead.round(6), len(rows)),
        "x": places[..., 0].reshape(-1),
        "y": places[..., 1].reshape(-1),
    }
    spread = deviation(answer)
    if spread is not None:
        columns |= {f"{n}_deviation": spread[..., i].reshape(-1) for i, n in enumerate("xy")}
    for number, name in enumerate(INTENTIONS):
        columns[name] = np.repeat(answer.probability[:, number], steps)
    return pd.DataFrame(columns)


def deviation(answer: Answer) -> Floats | None:
    """Standard deviation `[n, horizon, 2]` of the mixture of Gaussians; None without them.

    >>> ones = np.ones((1, 2, 1, 2))
    >>> two = Answer(modes=ones * [[[1.0]], [[-1.0]]], deviation=0 * ones,
    ...              probability=np.array([[0.5, 0.5]]), forecast=0 * ones[:, 0])
    >>> deviation(two).tolist()
    [[[1.0, 1.0]]]
    """
    if answer.deviation is None or answer.modes is None or answer.forecast is None:
        return None
    weight = np.asarray(answer.mode_probability)[:, :, None, None]
    between = np.square(answer.modes - answer.forecast[:, None])
    return np.sqrt(np.sum((np.square(answer.deviation) + between) * weight, axis=1))


def served(run: RunFolder) -> Served:
    """The trained model with the signatures it is exported with; see `Domain.served`."""
    config = run.read_config(TrajectoryConfig)
    metrics = run.read_metrics()
    facts, settings = metrics["data"], config.data
    chosen = ("final_rmse", "ade", "fde", "macro_f1", "macro_f1_near")
    card = {
        "system": config.model.name,
        "trained_on": {
            name: facts[name] for name in ("source", "digest", "vehicles", "recordings", "rows")
        },
        "rate": settings.rate,
        "history": settings.history,
        "horizon": settings.horizon,
        "intention_window": settings.intention_window,
        "sites": list(config.model.sites),
        "test": {name: metrics["test"][name] for name in chosen},
        "constant_velocity": {
            name: metrics["baselines"]["constant_velocity"][name] for name in chosen[:3]
        },
        "licence": "model code: Apache-2.0; the weights follow the terms of the training data",
    }
    example = {
        name: np.array(values, np.int32 if name == "site" else np.float32)
        for name, values in read_json(run.path / EXAMPLE_FILE).items()
    }
    return served_model(load_model(run.model_file), example=example, card=card)
