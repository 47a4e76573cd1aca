"""Trains CMoE and judges it beside its dense twin and baselines without a network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moe_apps.models.acoustic import CMoE
from moe_apps.pipelines.acoustic.answers import Answer, answering
from moe_apps.pipelines.acoustic.baselines import baselines
from moe_apps.pipelines.acoustic.building import CLASSES_FILE, FILES, kinds
from moe_apps.pipelines.acoustic.config import AcousticConfig
from moe_apps.pipelines.acoustic.data import (
    AcousticData,
    acoustic_data,
    check_backend_of_noise,
    other_data,
)
from moe_apps.pipelines.acoustic.extraction import Segments
from moe_apps.pipelines.acoustic.metrics import score
from moe_apps.pipelines.acoustic.page import write_page
from moe_apps.pipelines.acoustic.routing import routing_summary
from moe_apps.pipelines.acoustic.splits import HELD_OUT, TEST, TRAIN
from moe_apps.pipelines.acoustic.training import built, train_network
from moe_apps.pipelines.atomic_files import write_json
from moe_apps.pipelines.optimisation import check_backend
from moe_apps.pipelines.parameters import count_parameters
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import load_model, save_model, tracked_run
from moe_apps.pipelines.training import OnEpoch, TrainingResult


def train(config: AcousticConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
    """Train, judge and report a run; see `Domain.train`."""
    check_backend(config.train)
    check_backend_of_noise(config)
    started = time.perf_counter()
    data = acoustic_data(config)  # a mistake in the data stops here, with nothing written
    timing = {"data_seconds": time.perf_counter() - started}
    models = {kind: built(config, kind, data) for kind in kinds(config)}
    with tracked_run(config, run, resume, data.facts) as tracker:
        trained = {}
        for kind, model in models.items():
            main = kind == "model"
            trained[kind] = train_network(
                model,
                kind,
                config,
                data,
                checkpoint=run.checkpoint / kind,
                history_file=run.history_file if main else run.path / f"{kind}_history.csv",
                on_epoch=(tracker.epoch,) if main else (),
                resume=resume,
            )
            save_model(model, run.path / FILES[kind])
        write_json(run.path / CLASSES_FILE, {"classes": list(data.classes)})
        main_result = trained["model"]
        timing |= {f"{kind}_training_seconds": trained[kind].seconds for kind in models}
        timing["step_seconds"] = main_result.step_seconds
        trained_baselines = (
            baselines(data.of(TRAIN), len(data.classes), config.seed)
            if config.evaluation.baselines
            else {}
        )
        metrics, answers = _judged(config, data, models, trained_baselines)
        metrics["training"] = {
            "epochs": main_result.epochs,
            "best_epoch": main_result.best_epoch,
            "best_val_loss": main_result.best,
            "seed": config.seed,
        }
        timing["total_seconds"] = time.perf_counter() - started
        metrics["timing"] = {**timing, **metrics["timing"]}
        metrics = run.write_metrics(metrics)
        write_page(run, config, data, answers, metrics, main_result.history)
    return metrics


def train_only(config: AcousticConfig, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
    """Train the model alone; see `Domain.train_only`."""
    check_backend(config.train)
    check_backend_of_noise(config)
    data = acoustic_data(config)
    return train_network(
        built(config, "model", data),
        "model",
        config,
        data,
        checkpoint=run.checkpoint / "model",
        history_file=run.history_file,
        on_epoch=(on_epoch,),
    )


def evaluate(run: RunFolder, path: Path | None) -> dict[str, Any]:
    """Judge a trained run on its own test part, or on all of other data; see `Domain.evaluate`.

    Baselines are trained anew on the run's own training part.
    """
    config = run.read_config(AcousticConfig)
    own = acoustic_data(config)
    data = own if path is None else other_data(config, path, own.classes)
    models = {
        kind: load_model(run.path / file)
        for kind, file in FILES.items()
        if (run.path / file).is_file()
    }
    trained_baselines = (
        baselines(own.of(TRAIN), len(own.classes), config.seed)
        if config.evaluation.baselines
        else {}
    )
    return _judged(config, data, models, trained_baselines)[0]


def _judged(
    config: AcousticConfig,
    data: AcousticData,
    models: Mapping[str, CMoE],
    trained_baselines: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Answer]]:
    """Figures of every network and baseline on the test part, and their answers."""
    test = data.of(TEST)
    answers, seconds = _answers(config, models, trained_baselines, test)
    scores = {name: score(answer, test, data.classes) for name, answer in answers.items()}
    parameters: dict[str, Any] = count_parameters(models["model"])
    parameters |= {kind: m.count_params() for kind, m in models.items() if kind != "model"}
    metrics: dict[str, Any] = {
        "domain": config.domain,
        "system": config.model.name,
        "test": scores.pop("model"),
        "dense_twin": scores.pop("dense_twin", None),
        "baselines": scores,
        "routing": routing_summary(answers["model"], test, data.recordings, data.classes),
        "parameters": parameters,
        "timing": {"test_segments_per_second": len(test) / seconds},
        "data": data.facts,
    }
    if (data.part == HELD_OUT).any():
        unseen = data.of(HELD_OUT)
        found, _ = _answers(config, models, trained_baselines, unseen)
        metrics["held_out"] = {
            "sub_types": list(config.data.held_out),
            **{name: _short(score(one, unseen, data.classes)) for name, one in found.items()},
            "by_sub_type": _by_sub_type(found["model"], unseen, data),
        }
    return metrics, answers


def _answers(
    config: AcousticConfig,
    models: Mapping[str, CMoE],
    trained_baselines: Mapping[str, Any],
    segments: Segments,
) -> tuple[dict[str, Answer], float]:
    """Answers by name, and the seconds that the model took."""
    answers: dict[str, Answer] = {}
    seconds = 0.0
    for kind, model in models.items():
        answer = answering(model, config.evaluation.batch_size)
        started = time.perf_counter()
        answers[kind] = answer(segments)
        if kind == "model":
            seconds = time.perf_counter() - started
    return answers | {name: one(segments) for name, one in trained_baselines.items()}, seconds


def _short(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("accuracy", "balanced_accuracy", "macro_f1", "segment_accuracy")
    return {name: found[name] for name in names} | {"interval": found["recording"]["interval"]}


def _by_sub_type(answer: Answer, segments: Segments, data: AcousticData) -> dict[str, Any]:
    kinds = np.array([one.sub_type or "" for one in data.recordings])[segments.recording]
    found = {}
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        part = Answer(answer.probability[rows])
        found[str(kind)] = _short(score(part, segments.take(rows), data.classes))
    return found
