"""Trains a recommender and judges it beside its twins and classical baselines."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.models.recommendation import Ranker
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.optimisation import check_backend
from moe_apps.pipelines.parameters import count_parameters
from moe_apps.pipelines.recommendation.baselines import Baselines, fit_baselines
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.data import prepare
from moe_apps.pipelines.recommendation.diagnostics import failure_signs, routing_summary
from moe_apps.pipelines.recommendation.fitting import answers_function, fit_ranker, inputs_of
from moe_apps.pipelines.recommendation.judgement import judge, judge_uplift
from moe_apps.pipelines.recommendation.kept_files import (
    EXAMPLE_FILE,
    PREPROCESSING_FILE,
    SINGLE_FOLDER,
    TWIN_FILE,
    keep_tables,
)
from moe_apps.pipelines.recommendation.page import write_page
from moe_apps.pipelines.recommendation.prepared import Prepared
from moe_apps.pipelines.recommendation.ranking import judge_ranking
from moe_apps.pipelines.recommendation.served_inputs import raw_of
from moe_apps.pipelines.recommendation.systems import (
    build_model,
    build_single,
    build_twin,
    effect_function,
    gate_function,
)
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model, save_model, tracked_run
from moe_apps.pipelines.training import OnEpoch, TrainingResult, set_seed

ARRAYS_FOLDER = "arrays"
LOOKED_AT = 2048  # rows that experts are looked at on


@dataclass
class Trained:
    """What is compared: networks by name, `model` first, and fitted baselines.

    Attributes:
        models: By name; a single-task network is under `single task`, by task.
        singles: Networks of one task each.
        baselines: Classical ones.
    """

    models: dict[str, Ranker]
    singles: dict[str, Ranker] = field(default_factory=dict)
    baselines: Baselines | None = None


def train(config: RecommendationConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
    """Train, judge and report a run; see `Domain.train`."""
    check_backend(config.train)
    started = time.perf_counter()
    data = prepare(config)  # a mistake in the data stops here, with nothing written
    set_seed(config.seed)
    model = build_model(config, data.preprocessing, data.train)  # and one in the settings here
    timing = {"reading_seconds": time.perf_counter() - started}
    with tracked_run(config, run, resume, data.facts) as tracker:
        data.preprocessing.save(run.path / PREPROCESSING_FILE)
        keep_tables(run, data)
        example = data.test.take(slice(0, min(len(data.test), 4)))
        write_json(run.path / EXAMPLE_FILE, raw_of(data.preprocessing, example))
        arrays = data.training_arrays(run.path / ARRAYS_FOLDER)
        training = fit_ranker(
            model, config, data, arrays, run.path, resume=resume, on_epoch=(tracker.epoch,)
        )
        save_model(model, run.model_file)
        timing |= {
            "training_seconds": training.seconds,
            "step_seconds": training.step_seconds,
            "rows_per_second": config.train.batch_size / training.step_seconds,
        }
        trained = Trained({"model": model})
        parameters: dict[str, Any] = count_parameters(model)
        twin = build_twin(config, data.preprocessing, model)
        if twin is not None and config.evaluation.dense_twin:
            twin_training = fit_ranker(
                twin, config, data, arrays, run.path, "dense_twin", resume=resume
            )
            save_model(twin, run.path / TWIN_FILE)
            trained.models["dense twin"] = twin
            timing["dense_twin_training_seconds"] = twin_training.seconds
            parameters["dense_twin"] = twin.count_params()
        if config.evaluation.single_task and config.model.name != "mtmt":
            for task in data.schema.tasks:
                single = build_single(config, data.preprocessing, task.name, twin or model)
                kind = f"single_{task.name}"
                fit_ranker(single, config, data, arrays, run.path, kind, resume=resume)
                (run.path / SINGLE_FOLDER).mkdir(exist_ok=True)
                save_model(single, run.path / SINGLE_FOLDER / f"{task.name}.keras")
                trained.singles[task.name] = single
        shutil.rmtree(run.path / ARRAYS_FOLDER, ignore_errors=True)
        began = time.perf_counter()
        trained.baselines = _fit_baselines(config, data)
        timing["baselines_fit_seconds"] = time.perf_counter() - began
        judged, answers = _judged(config, data, trained)
        metrics = {
            **judged,
            "parameters": parameters,
            "training": {
                "epochs": training.epochs,
                "best_epoch": training.best_epoch,
                "best_val_score": training.best,
                "seed": config.seed,
            },
        }
        timing["total_seconds"] = time.perf_counter() - started
        metrics["timing"] = {**timing, **metrics["timing"]}
        metrics = run.write_metrics(metrics)
        write_page(run, config, data, answers, metrics, training.history)
    return metrics


def train_only(config: RecommendationConfig, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
    """Train the model alone; see `Domain.train_only`."""
    check_backend(config.train)
    data = prepare(config)
    set_seed(config.seed)
    model = build_model(config, data.preprocessing, data.train)
    arrays = data.training_arrays(run.path / ARRAYS_FOLDER)
    try:
        return fit_ranker(model, config, data, arrays, run.path, on_epoch=(on_epoch,))
    finally:
        shutil.rmtree(run.path / ARRAYS_FOLDER, ignore_errors=True)


def evaluate(run: RunFolder, path: Path | None) -> dict[str, Any]:
    """Judge a trained run by its own protocol; see `Domain.evaluate`.

    On other data the split is made anew and the baselines are fitted to its training part; the
    trained networks and their vocabularies stay as they are.
    """
    from moe_apps.pipelines.recommendation.kept_files import load_preprocessing

    config = run.read_config(RecommendationConfig)
    data = prepare(config, path)
    data = data.with_preprocessing(load_preprocessing(run))
    trained = Trained({"model": load_model(run.model_file)})
    if (run.path / TWIN_FILE).is_file():
        trained.models["dense twin"] = load_model(run.path / TWIN_FILE)
    if (run.path / SINGLE_FOLDER).is_dir():
        for task in data.schema.tasks:
            trained.singles[task.name] = load_model(run.path / SINGLE_FOLDER / f"{task.name}.keras")
    trained.baselines = _fit_baselines(config, data)
    judged, _ = _judged(config, data, trained)
    return {**judged, "parameters": count_parameters(trained.models["model"])}


def _fit_baselines(config: RecommendationConfig, data: Prepared) -> Baselines:
    return fit_baselines(
        data.train,
        data.validation,
        data.schema,
        seed=config.seed,
        boosting=config.evaluation.boosting,
    )


def _judged(
    config: RecommendationConfig, data: Prepared, trained: Trained
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results of everything on the test part, and the predictions they are of."""
    size, k = config.evaluation.batch_size, config.evaluation.k
    started = time.perf_counter()
    answers = {
        name: answers_function(model, data, size)(data.test)
        for name, model in trained.models.items()
    }
    seconds = (time.perf_counter() - started) / len(trained.models)
    if trained.singles:
        answers["single-task twins"] = {
            name: answers_function(model, data, size)(data.test)[name]
            for name, model in trained.singles.items()
        }
    assert trained.baselines is not None
    answers |= trained.baselines.predict(data.test)
    scores = {
        name: judge(data.schema, data.test, of_task, k=k, train=data.train)
        for name, of_task in answers.items()
    }
    if data.preprocessing.treatments:
        _add_uplift(config, data, trained, scores)
    if config.evaluation.ranking != "none":
        judge_ranking(config, data, trained.models, scores)
    model = trained.models["model"]
    looked_at = data.test.take(slice(0, LOOKED_AT))
    inputs = inputs_of(model, data.arrays(data.test)[0])
    domain = None if data.test.domain is None else np.array(data.test.domain.raw(), str)
    gates = gate_function(model, size)(inputs)
    routing = {
        "gates": routing_summary(gates, domain),
        **failure_signs(model, inputs_of(model, data.arrays(looked_at)[0])),
    }
    twin = scores.pop("dense twin", None)
    judged = {
        "domain": config.domain,
        "system": config.model.name,
        "test": scores.pop("model"),
        "baselines": {name.replace(" ", "_"): figures for name, figures in scores.items()},
        "dense_twin": twin,
        "routing": routing,
        "data": dict(data.facts),
        "timing": {"test_rows_per_second": len(data.test) / seconds},
    }
    return judged, answers


def _add_uplift(
    config: RecommendationConfig, data: Prepared, trained: Trained, scores: dict[str, Any]
) -> None:
    """Qini of every uplift model, of the baselines that have one, and of random order."""
    from moe_apps.pipelines.recommendation.uplift_baselines import uplift_effects

    arm = data.preprocessing.treatment(data.test)
    treatments = data.preprocessing.treatments
    effects = {}
    for name, model in trained.models.items():
        found = effect_function(model, config.evaluation.batch_size)(
            inputs_of(model, data.arrays(data.test)[0])
        )
        effects[name] = {
            task: values * data.preprocessing.targets.get(task, (0.0, 1.0))[1]
            for task, values in found.items()
        }
    effects |= uplift_effects(data.train, data.test, data.schema, treatments, seed=config.seed)
    for name, of_task in effects.items():
        figures = judge_uplift(data.test, arm, treatments, of_task)
        row = scores.setdefault(name, {"score": None})
        row["uplift"] = figures
        first = data.schema.tasks[0].name
        qini = [one["qini"] for one in figures[first].values() if one["qini"] is not None]
        row["qini"] = float(np.mean(qini)) if qini else None
