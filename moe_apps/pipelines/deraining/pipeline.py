"""Trains a restorer and judges it beside its dense twin, a U-Net and classical filters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.errors import DataError
from moe_apps.models.deraining import Restorer
from moe_apps.pipelines.deraining.baselines import BASELINES
from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.data import describe, examples, test_examples
from moe_apps.pipelines.deraining.evaluation import judge
from moe_apps.pipelines.deraining.examples import Examples, Image
from moe_apps.pipelines.deraining.image_files import Picture, write_picture
from moe_apps.pipelines.deraining.page import write_page
from moe_apps.pipelines.deraining.prediction import EXAMPLE_FILE
from moe_apps.pipelines.deraining.restoration import (
    ImageRestorer,
    Role,
    answers,
    build_model,
    compile_restorer,
    has_dense_twin,
    validation_psnr,
)
from moe_apps.pipelines.deraining.routing import gate_values, routing_summary
from moe_apps.pipelines.deraining.training_batches import PatchBatches
from moe_apps.pipelines.optimisation import check_backend
from moe_apps.pipelines.parameters import count_parameters
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model, save_model, tracked_run
from moe_apps.pipelines.training import OnEpoch, TrainingResult, fit, set_seed

Answer = Callable[[Image], Image]

TITLES: dict[str, str] = {"drsformer": "DRSformer", "mofme": "MoFME"}
OTHERS: dict[Role, str] = {"dense_twin": "dense twin", "u_net": "U-Net"}


def train(config: DerainingConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
    """Train, judge and report a run; see `Domain.train`."""
    check_backend(config.train)
    started = time.perf_counter()
    data = examples(config)  # a mistake in the data stops here, with nothing written
    facts = describe(data)
    with tracked_run(config, run, resume, facts) as tracker:
        model, training = _trained(config, data, run, "model", resume, tracker.epoch)
        save_model(model, run.model_file)
        write_picture(run.path / EXAMPLE_FILE, Picture(data.test[0].rainy))
        restorer = ImageRestorer(model, config.prediction)
        systems: dict[str, Answer] = {"model": answers(restorer)}
        timing = {"training_seconds": training.seconds, "step_seconds": training.step_seconds}
        parameters: dict[str, Any] = count_parameters(model)
        for role in _others(config):
            other, result = _trained(config, data, run, role, resume, tracker.epoch)
            save_model(other, _file(run, role))
            systems[role] = answers(ImageRestorer(other, config.prediction))
            timing[f"{role}_training_seconds"] = result.seconds
            timing[f"{role}_step_seconds"] = result.step_seconds
            parameters[role] = other.count_params()
        metrics = {
            **_judged(config, data, systems, facts),
            "routing": routing_summary(restorer, data.test),
            "parameters": parameters,
            "training": {
                "epochs": training.epochs,
                "best_epoch": training.best_epoch,
                "best_val_psnr": training.best,
                "seed": config.seed,
            },
        }
        timing["total_seconds"] = time.perf_counter() - started
        metrics["timing"] = {**timing, **metrics["timing"]}
        metrics = run.write_metrics(metrics)
        write_page(run, config, data, systems, restorer, metrics, training.history)
    return metrics


def train_only(config: DerainingConfig, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
    """Train the model alone; see `Domain.train_only`."""
    check_backend(config.train)
    return _trained(config, examples(config), run, "model", False, on_epoch)[1]


def evaluate(run: RunFolder, path: Path | None) -> dict[str, Any]:
    """Judge a trained run on its own test part, or on all pairs of another folder."""
    config = run.read_config(DerainingConfig)
    if path is None:
        data = examples(config)
    else:
        pairs, protocol, notes = test_examples(config, path)
        if not pairs:
            raise DataError(f"{path}: has no pairs to judge by")
        data = Examples(_no_training(), (), pairs, 0, protocol, str(path), tuple(notes))
    model = load_model(run.model_file)
    restorer = ImageRestorer(model, config.prediction)
    systems: dict[str, Answer] = {"model": answers(restorer)}
    for role in _others(config):
        if _file(run, role).is_file():
            systems[role] = answers(ImageRestorer(load_model(_file(run, role)), config.prediction))
    return {
        **_judged(config, data, systems, describe(data)),
        "routing": routing_summary(restorer, data.test),
        "parameters": count_parameters(model),
    }


def _others(config: DerainingConfig) -> list[Role]:
    wanted: dict[Role, bool] = {
        "dense_twin": config.evaluation.dense_twin and has_dense_twin(config),
        "u_net": config.evaluation.u_net,
    }
    return [role for role, is_wanted in wanted.items() if is_wanted]


def _file(run: RunFolder, role: Role) -> Path:
    return run.path / f"{role}.keras"


def _trained(
    config: DerainingConfig,
    data: Examples,
    run: RunFolder,
    role: Role,
    resume: bool,
    on_epoch: OnEpoch,
) -> tuple[Restorer, TrainingResult]:
    """A model trained with the same seed, patches, steps and settings as the others."""
    set_seed(config.seed)
    model = build_model(config, role)
    settings = config.train
    batches = PatchBatches(
        data.train,
        settings.patch,
        settings.batch_size,
        settings.steps_per_epoch or max(data.train_count // settings.batch_size, 1),
        config.seed,
        settings.augment,
    )
    compile_restorer(model, config, batches.batches_per_epoch)
    restorer = ImageRestorer(model, config.prediction)
    # A fixed, evenly spread part of the validation pairs is restored after every epoch.
    every = max(len(data.validation) // config.evaluation.validation_images, 1)
    part = data.validation[::every]
    main = role == "model"

    def validate() -> dict[str, float]:
        gates = gate_values(restorer, part, config) if main else {}
        return {**validation_psnr(restorer, part, data.protocol), **gates}

    result = fit(
        model,
        batches,
        settings,
        checkpoint=run.checkpoint / role,
        history_file=run.history_file if main else run.path / f"{role}_history.csv",
        validate=validate,
        monitor="val_psnr",
        mode="max",
        on_epoch=(on_epoch,) if main else (),
        resume=resume and (run.checkpoint / role).exists(),
        title=TITLES[config.model.name] if main else OTHERS[role],
    )
    return model, result


def _judged(
    config: DerainingConfig,
    data: Examples,
    systems: Mapping[str, Answer],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Scores of every system over all test pairs."""
    scores = {}
    pixels = sum(example.rainy.shape[0] * example.rainy.shape[1] for example in data.test)
    systems["model"](data.test[0].rainy)  # compiled before it is timed
    started = time.perf_counter()
    for example in data.test:
        systems["model"](example.rainy)
    seconds = (time.perf_counter() - started) / (pixels / 1e6)
    classical = BASELINES if config.evaluation.classical else {"input": BASELINES["input"]}
    for name, answer in {**systems, **classical}.items():
        scores[name] = judge(answer, data.test, data.protocol)
    twin = scores.pop("dense_twin", None)
    return {
        "domain": config.domain,
        "system": config.model.name,
        "test": scores.pop("model"),
        "baselines": scores,
        "dense_twin": twin,
        "data": dict(facts),
        "timing": {"test_seconds_per_megapixel": seconds},
    }


def _no_training() -> Any:
    class Nothing:
        def patch(self, random: np.random.Generator, size: int) -> Any:
            raise RuntimeError("data to judge by are not trained on")

    return Nothing()
