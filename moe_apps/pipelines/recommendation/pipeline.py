"""Trains a recommender and judges it beside its twins and classical baselines."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moe_apps.models.recommendation import Ranker
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.optimisation import check_backend
from moe_apps.pipelines.parameters import count_parameters
from moe_apps.pipelines.recommendation.baselines import Baselines, fit_baselines
from moe_apps.pipelines.recommendation.batches import training_batches
from moe_apps.pipelines.recommendation.config import RecommendationConfig
from moe_apps.pipelines.recommendation.data import SAMPLE, Prepared, prepare
from moe_apps.pipelines.recommendation.diagnostics import failure_signs, routing_summary
from moe_apps.pipelines.recommendation.judgement import judge, judge_uplift, monitored
from moe_apps.pipelines.recommendation.kept_files import (
    EXAMPLE_FILE,
    PREPROCESSING_FILE,
    SINGLE_FOLDER,
    TWIN_FILE,
    keep_tables,
)
from moe_apps.pipelines.recommendation.page import write_page
from moe_apps.pipelines.recommendation.ranking import judge_ranking
from moe_apps.pipelines.recommendation.served_inputs import raw_of
from moe_apps.pipelines.recommendation.systems import (
    answer_function,
    build_model,
    build_single,
    build_twin,
    compile_ranker,
    effect_function,
    gate_function,
)
from moe_apps.pipelines.recommendation.table import Table
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model, save_model, tracked_run
from moe_apps.pipelines.tracking import Tracker
from moe_apps.pipelines.training import TrainingResult, fit, set_seed

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
    model = build_model(config, data.preprocessing)  # and one in the settings here
    source = config.data.path or SAMPLE
    timing = {"reading_seconds": time.perf_counter() - started}
    with tracked_run(config, run, resume, source=source, digest=data.facts["digest"]) as tracker:
        data.preprocessing.save(run.path / PREPROCESSING_FILE)
        keep_tables(run, data)
        example = data.test.take(slice(0, min(len(data.test), 4)))
        write_json(run.path / EXAMPLE_FILE, raw_of(data.preprocessing, example))
        arrays = data.training_arrays(run.path / ARRAYS_FOLDER)
        training = _fitted(model, config, data, arrays, run, "model", resume, tracker)
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
            twin_training = _fitted(twin, config, data, arrays, run, "dense_twin", resume, tracker)
            save_model(twin, run.path / TWIN_FILE)
            trained.models["dense twin"] = twin
            timing["dense_twin_training_seconds"] = twin_training.seconds
            parameters["dense_twin"] = twin.count_params()
        if config.evaluation.single_task and config.model.name != "mtmt":
            for task in data.schema.tasks:
                single = build_single(config, data.preprocessing, task.name, twin or model)
                kind = f"single_{task.name}"
                _fitted(single, config, data, arrays, run, kind, resume, tracker)
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


def _fitted(
    model: Ranker,
    config: RecommendationConfig,
    data: Prepared,
    arrays: Any,
    run: RunFolder,
    kind: str,
    resume: bool,
    tracker: Tracker,
) -> TrainingResult:
    """Train a network in place, keeping the epoch of the best validation score."""
    set_seed(config.seed)
    inputs, targets = arrays
    batches = training_batches(
        inputs_of(model, inputs),
        {name: targets[name] for name in model.task_names},
        config.train.batch_size,
        config.seed,
        config.train.steps_per_epoch,
    )
    compile_ranker(model, config, data.preprocessing, batches.batches_per_epoch)
    answer = answers_function(model, data, config.evaluation.batch_size)

    def validate() -> dict[str, float]:
        judged = judge(data.schema, data.validation, answer(data.validation), k=config.evaluation.k)
        made = {"val_score": monitored(data.schema, judged["tasks"])}
        for task, figures in judged["tasks"].items():
            for name in {data.schema.task(task).metric, "log_loss", "rmse"}:
                if isinstance(figures.get(name), float):
                    made[f"val_{task}_{name}"] = figures[name]
        return made

    main = kind == "model"
    title = config.model.name if main else kind.replace("_", " ")
    return fit(
        model,
        batches,
        config.train,
        checkpoint=run.checkpoint / kind,
        history_file=run.history_file if main else run.path / f"{kind}_history.csv",
        validate=validate,
        monitor="val_score",
        mode="max",
        on_epoch=(tracker.epoch,) if main else (),
        resume=resume and (run.checkpoint / kind).exists(),
        title=title,
    )


def inputs_of(model: Ranker, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that a model reads; the user only where it asks for users in training."""
    wanted = {*model.fields.inputs(), *model.extra_inputs}
    return {name: value for name, value in inputs.items() if name in wanted}


def answers_function(model: Ranker, data: Prepared, batch_size: int) -> Any:
    """A function of a table that gives predictions by task, in the units of the labels."""
    answer = answer_function(model, batch_size)

    def of_table(table: Table) -> dict[str, npt.NDArray[np.floating]]:
        found = answer(inputs_of(model, data.arrays(table)[0]))
        return {
            name: data.preprocessing.in_units(name, values.astype(np.float64))
            for name, values in found.items()
        }

    return of_table


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
