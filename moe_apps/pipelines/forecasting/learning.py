"""Trains a forecaster, or its dense twin, and keeps the epoch that forecasts best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from moe_apps.errors import ConfigError
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.data import season
from moe_apps.pipelines.forecasting.forecaster import answer_of, has_quantiles
from moe_apps.pipelines.forecasting.interval_scores import pinball
from moe_apps.pipelines.forecasting.intervals import GRID
from moe_apps.pipelines.forecasting.systems import system_of
from moe_apps.pipelines.forecasting.windows import WindowedPanel
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model
from moe_apps.pipelines.training import TrainingResult, fit, set_seed

TWIN_FILE = "dense_twin.keras"


def train_model(
    config: ForecastingConfig,
    data: WindowedPanel,
    run: RunFolder,
    kind: Literal["model", "dense_twin"] = "model",
    *,
    resume: bool = False,
    on_epoch: Sequence[Callable[[int, dict[str, float]], None]] = (),
) -> tuple[keras.Model, TrainingResult]:
    """A model of the settings, or its dense twin, trained with the same seed, data and settings.

    The epoch with the least squared error of forecasts on validation windows is kept, or, of a
    model with a head, the least CRPS; of a system that starts fitted, or a run that goes on from
    another, the start itself where no epoch is better (`best_epoch` 0).

    Args:
        config: The settings.
        data: The windows.
        run: Folder for checkpoint and history; weights come from its `origin`, if there is one.
        kind: What to train.
        resume: Go on from the folder's checkpoint, if there is one.
        on_epoch: As in `training.fit`.

    Raises:
        ConfigError: The settings make another model than that of the origin.
    """
    set_seed(config.seed)
    system, steps = system_of(config), season(config, data.panel)
    model = system.build(config, steps, data.known_features, dense=kind == "dense_twin")
    weights = _origin_of(run, kind)
    if weights is None:
        system.start(model, data, steps)
    else:
        _take_weights(model, weights)
    batches = system.batches(data.train, config)
    system.compile(model, config, batches.batches_per_epoch)
    distributed = has_quantiles(model)
    grid = GRID.tolist() if distributed else ()
    answer = answer_of(model, config.data.horizon, config.evaluation.batch_size, grid)
    windows = data.validation
    # A fixed, evenly spread part of the validation windows is forecast after every epoch.
    every = max(len(windows) // config.evaluation.validation_windows, 1)
    part = windows.gather(np.arange(0, len(windows), every))

    def validate() -> dict[str, float]:
        found, target = answer(part), np.where(part.target_observed, part.target, np.nan)
        error = (found[..., len(grid) // 2] if distributed else found) - target
        values = {"val_mse": np.square(error), "val_mae": np.abs(error)}
        if distributed:
            values["val_crps"] = 2 * pinball(target[..., None], found, GRID)
        return {name: float(np.nanmean(value)) for name, value in values.items()}

    monitor = "val_crps" if distributed else "val_mse"

    main = kind == "model"
    before = validate()[monitor] if system.starts_fitted or weights else np.inf
    first = model.get_weights()
    result = fit(
        model,
        batches,
        config.train,
        checkpoint=run.checkpoint / kind,
        history_file=run.history_file if main else run.path / "dense_twin_history.csv",
        validate=validate,
        monitor=monitor,
        on_epoch=on_epoch,
        resume=resume and (run.checkpoint / kind).exists(),
        title=system.title if main else "dense twin",
    )
    if before <= result.best:  # no epoch is better than the start
        model.set_weights(first)
        result = replace(result, best_epoch=0, best=float(before))
    return model, result


def _origin_of(run: RunFolder, kind: str) -> Path | None:
    if run.origin is None:
        return None
    file = run.origin / ("model.keras" if kind == "model" else TWIN_FILE)
    return file if file.is_file() else None


def _take_weights(model: keras.Model, file: Path) -> None:
    old = load_model(file)
    wanted, found = ([w.shape for w in one.weights] for one in (model, old))
    if type(model) is not type(old) or wanted != found:
        raise ConfigError(
            f"--from {file.parent}: its model is another than the settings make; system, sizes, "
            "calendar and, for linear_moe, look-back and horizon stay as they were"
        )
    model.set_weights(old.get_weights())
