"""Trains TMMOE and judges it beside its dense twin, LSTMs and baselines without a network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moe_apps.models.trajectory import TrajectoryModel
from moe_apps.models.trajectory.tasks import TASKS
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.optimisation import check_backend
from moe_apps.pipelines.parameters import count_parameters
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.specialisation import routing_values
from moe_apps.pipelines.tracked_run import load_model, save_model, tracked_run
from moe_apps.pipelines.training import OnEpoch, TrainingResult, fit, set_seed
from moe_apps.pipelines.trajectory.answers import Answer, answering
from moe_apps.pipelines.trajectory.baselines import baselines, constant_velocity
from moe_apps.pipelines.trajectory.batches import training_batches
from moe_apps.pipelines.trajectory.building import FILES, build_model, compile_trajectory, kinds
from moe_apps.pipelines.trajectory.config import TrajectoryConfig
from moe_apps.pipelines.trajectory.data import TrajectoryData, windowed_data
from moe_apps.pipelines.trajectory.metrics import score
from moe_apps.pipelines.trajectory.page import write_page
from moe_apps.pipelines.trajectory.routing import routing_summary

EXAMPLE_FILE = "example.json"
"""A window of the test part, as the served model takes it: a run is exported without its data."""

TITLES = {
    "model": "TMMOE",
    "dense_twin": "dense twin",
    "lstm_single_task": "single-task LSTM",
    "lstm_multi_task": "multi-task LSTM",
}


def train(config: TrajectoryConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
    """Train, judge and report a run; see `Domain.train`."""
    check_backend(config.train)
    started = time.perf_counter()
    data = windowed_data(config)  # a mistake in the data stops here, with nothing written
    timing = {"data_seconds": time.perf_counter() - started}
    models = {kind: _built(config, kind, data) for kind in kinds(config)}
    with tracked_run(config, run, resume, data.facts) as tracker:
        trained: dict[str, TrainingResult] = {}
        for kind, model in models.items():
            trained[kind] = _train(model, kind, config, data, run, resume, tracker.epoch)
            save_model(model, run.path / FILES[kind])
        write_json(run.path / EXAMPLE_FILE, _example(data))
        main = trained["model"]
        timing |= {"training_seconds": main.seconds, "step_seconds": main.step_seconds}
        timing |= {f"{kind}_training_seconds": trained[kind].seconds for kind in models}
        metrics, answers = _judged(config, data, models)
        metrics["training"] = {
            "epochs": main.epochs,
            "best_epoch": main.best_epoch,
            "best_val_score": main.best,
            "log_variances": models["model"].log_variances(),
            "seed": config.seed,
        }
        timing["total_seconds"] = time.perf_counter() - started
        metrics["timing"] = {**timing, **metrics["timing"]}
        metrics = run.write_metrics(metrics)
        write_page(run, config, data, answers, metrics, main.history)
    return metrics


def train_only(config: TrajectoryConfig, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
    """Train the model alone; see `Domain.train_only`."""
    check_backend(config.train)
    data = windowed_data(config)
    return _train(_built(config, "model", data), "model", config, data, run, False, on_epoch)


def evaluate(run: RunFolder, path: Path | None) -> dict[str, Any]:
    """Judge a trained run by its own protocol; see `Domain.evaluate`.

    On other data, their test part is judged; the trained networks stay as they are.
    """
    config = run.read_config(TrajectoryConfig)
    data = windowed_data(config, path)
    models = {
        kind: load_model(run.path / file)
        for kind, file in FILES.items()
        if (run.path / file).is_file()
    }
    return _judged(config, data, models)[0]


def _built(config: TrajectoryConfig, kind: str, data: TrajectoryData) -> TrajectoryModel:
    set_seed(config.seed)  # the weights of one network do not depend on which others there are
    return build_model(config, kind, data.train)


def _train(
    model: TrajectoryModel,
    kind: str,
    config: TrajectoryConfig,
    data: TrajectoryData,
    run: RunFolder,
    resume: bool,
    on_epoch: OnEpoch,
) -> TrainingResult:
    """Train one network; every one with the same seed, windows and settings."""
    set_seed(config.seed)
    settings = config.train
    batches = training_batches(
        data.train, settings.batch_size, config.seed, settings.steps_per_epoch
    )
    compile_trajectory(model, config, batches.batches_per_epoch)
    answer = answering(model, config.evaluation.batch_size)
    beaten = score(constant_velocity(data.validation, config.data), data.validation, config)

    def validate() -> dict[str, float]:
        answers = answer(data.validation)
        found = score(answers, data.validation, config)
        # Both of what is predicted: the error as a share of constant velocity's, and what the
        # macro F1 lacks of 1, where lanes are changed at all.
        value = found["final_rmse"] / max(beaten["final_rmse"], 1e-6)
        values = {"val_final_rmse": found["final_rmse"], "val_ade": found["ade"]}
        if found["macro_f1"] is not None:
            values["val_macro_f1"] = found["macro_f1"]
            value += 1 - found["macro_f1"]
        if config.model.uncertainty_weighting:
            values |= {f"log_variance/{t}": s for t, s in model.log_variances().items()}
        if answers.gates is not None:
            gates = {f"gate_{task}": answers.gates[:, n] for n, task in enumerate(TASKS)}
            values |= routing_values(gates)
        return values | {"val_score": value}

    main = kind == "model"
    return fit(
        model,
        batches,
        settings,
        checkpoint=run.checkpoint / kind,
        history_file=run.history_file if main else run.path / f"{kind}_history.csv",
        validate=validate,
        monitor="val_score",
        on_epoch=(on_epoch,) if main else (),
        resume=resume and (run.checkpoint / kind).exists(),
        title=TITLES[kind],
    )


def _judged(
    config: TrajectoryConfig, data: TrajectoryData, models: Mapping[str, keras.Model]
) -> tuple[dict[str, Any], dict[str, Answer]]:
    """Errors of every network and baseline on the test windows, and their answers."""
    answers: dict[str, Answer] = {}
    seconds = 0.0
    for kind, model in models.items():
        answer = answering(model, config.evaluation.batch_size)
        started = time.perf_counter()
        answers[kind] = answer(data.test)
        if kind == "model":
            seconds = time.perf_counter() - started
    answers |= {
        name: predict(data.test) for name, predict in baselines(config.data, data.train).items()
    }
    scores = {name: score(answer, data.test, config) for name, answer in answers.items()}
    parameters: dict[str, Any] = count_parameters(models["model"])
    parameters |= {kind: m.count_params() for kind, m in models.items() if kind != "model"}
    metrics = {
        "domain": config.domain,
        "system": config.model.name,
        "test": scores.pop("model"),
        "dense_twin": scores.pop("dense_twin", None),
        "baselines": scores,
        "routing": routing_summary(answers["model"], data.test, config.data.intention_window),
        "parameters": parameters,
        "timing": {"test_windows_per_second": len(data.test) / seconds},
        "data": data.facts,
    }
    return metrics, answers


def _example(data: TrajectoryData) -> dict[str, Any]:
    """The first test window with most neighbours, in the coordinates of its recording."""
    present = data.test.inputs["present"].sum(axis=(1, 2))
    number = int(present.argmax())
    origin = data.cutter.position[data.test.row[number]].astype(np.float32)
    inputs = {name: values[number : number + 1] for name, values in data.test.inputs.items()}
    inputs["ego"] = inputs["ego"] + origin
    inputs["neighbours"] = inputs["neighbours"] + origin * inputs["present"][..., None]
    return inputs
