"""A run folder and its run in MLflow, begun and ended together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from moe_apps.pipelines.atomic_files import write_json, written_whole
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.environment import full_environment
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking import Tracker, tracked

# Large and nested, or facts on the data: they are in the file metrics.json, which is stored too.
NOT_METRICS = ("data", "routing")


@contextmanager
def tracked_run(
    config: RunConfig,
    run: RunFolder,
    resume: bool,
    facts: Mapping[str, Any],
) -> Iterator[Tracker]:
    """Start the folder (unless `resume`) and its tracking; at the end store results and files.

    Call it when the data are read and checked: from here on a run is on disk. What is inside
    writes `metrics.json`, and figures and report if it has any.

    Args:
        config: The run's settings, logged as parameters.
        run: The folder.
        resume: Go on with a folder that is there, and with its run in MLflow.
        facts: What the data are: `source` (where they came from), `digest` (hash of their
            content), `test_digest` (of what the test part is judged by; runs with one digest can
            be compared) and whatever else.

    Example:
        >>> facts = {"source": "a.csv", "digest": "0f3a", "test_digest": "77b0"}
        >>> with tracked_run(config, run, False, facts) as tracker:
        ...     run.write_metrics({"test": {"mse": 0.5}})  # doctest: +SKIP
    """
    if not resume:
        run.start(config)
    environment = full_environment()
    write_json(run.environment_file, environment)
    with tracked_folder(config.domain, run) as tracker:
        tracker.tags(_tags(environment))
        tracker.parameters(config.model_dump())
        _log_data(tracker, facts)
        yield tracker
        _log_results(tracker, run)


@contextmanager
def tracked_folder(domain: str, run: RunFolder, *, parent: str | None = None) -> Iterator[Tracker]:
    """Track a folder's run; where, and how much of it, is in its details for `resume` and `sync`.

    Args:
        domain: Experiment of the run.
        run: The folder, started.
        parent: Id of the run that this one is part of.

    Example:
        >>> with tracked_folder("forecasting", run) as tracker:  # doctest: +SKIP
        ...     tracker.tags({"kind": "tuning"})
    """
    details = run.read_details()
    begun = tracked(
        domain,
        name=run.path.name,
        run_id=details.get("mlflow_run"),
        folder=run.path,
        sent=details.get("mlflow_sent", 0),
        parent=parent,
    )
    tracker = None
    try:
        with begun as tracker:
            _keep_place(run, tracker)
            yield tracker
    finally:
        if tracker is not None and run.path.is_dir():
            _keep_place(run, tracker)


def _keep_place(run: RunFolder, tracker: Tracker) -> None:
    """Write where a run is tracked, and how much of it is sent, into its details."""
    run.write_details(
        mlflow_run=tracker.run_id, mlflow_uri=tracker.uri, mlflow_sent=tracker.journal.sent
    )


def _tags(environment: Mapping[str, Any]) -> dict[str, Any]:
    git = environment["git"] or {}
    return {
        **{f"environment.{name}": value for name, value in environment["environment"].items()},
        # The name that MLflow shows as the version of the code.
        **({"mlflow.source.git.commit": git["commit"]} if git else {}),
        **({"git.changed": git["changed"]} if git else {}),
    }


def _log_data(tracker: Tracker, facts: Mapping[str, Any]) -> None:
    source = str(facts["source"])
    name = Path(source).name
    rest = {key: value for key, value in facts.items() if key not in ("source", "digest", "notes")}
    tracker.dataset(name, digest=facts["digest"], source=source, facts=rest)
    if test := facts.get("test_digest"):
        tracker.dataset(f"{name}, test part", digest=test, source=source, context="testing")
        tracker.tags({"test_digest": test})


def _log_results(tracker: Tracker, run: RunFolder) -> None:
    results = run.read_metrics()
    tracker.metrics({name: v for name, v in results.items() if name not in NOT_METRICS})
    if "system" in results:
        tracker.tags({"system": results["system"]})
    for file in (
        run.config_file,
        run.metrics_file,
        run.history_file,
        run.environment_file,
        run.report_file,
    ):
        if file.exists():
            tracker.artifact(file)
    if run.figures.is_dir():
        tracker.artifact(run.figures, "figures")


def save_model(model: keras.Model, file: Path) -> None:
    """Write a model to `file`, whole or not at all.

    Example:
        >>> save_model(model, run.model_file)  # doctest: +SKIP
    """
    with written_whole(file) as temporary:
        model.save(temporary)


def load_model(file: Path) -> keras.Model:
    """Return a trained model from its file, without training state; code in it is refused.

    Example:
        >>> model = load_model(run.model_file)  # doctest: +SKIP
    """
    return keras.saving.load_model(file, compile=False)
