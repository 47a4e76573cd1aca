"""A run folder and its run in MLflow, begun and ended together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from moe_apps.pipelines.atomic_files import written_whole
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking import Tracker, tracked

# Large and nested, or facts on the data: they are in the file metrics.json, which is stored too.
NOT_METRICS = ("data", "routing")


@contextmanager
def tracked_run(
    config: RunConfig, run: RunFolder, resume: bool, *, source: str, digest: str
) -> Iterator[Tracker]:
    """Start the folder (unless `resume`) and its tracking; at the end store results and files.

    Call it when the data are read and checked: from here on a run is on disk. What is inside
    writes `metrics.json`, and figures and report if it has any.

    Args:
        config: The run's settings, logged as parameters.
        run: The folder.
        resume: Go on with a folder that is there, and with its run in MLflow.
        source: Where the data came from.
        digest: Hash of their content.

    Example:
        >>> with tracked_run(config, run, False, source="a.csv", digest="0f3a") as tracker:
        ...     run.write_metrics({"test": {"mse": 0.5}})  # doctest: +SKIP
    """
    if not resume:
        run.start(config)
    run_id = run.read_details().get("mlflow_run")
    with tracked(config.domain, name=run.path.name, run_id=run_id) as tracker:
        run.write_details(mlflow_run=tracker.run_id, mlflow_uri=tracker.uri)
        tracker.parameters(config.model_dump())
        tracker.dataset(Path(source).name, digest=digest, source=source)
        yield tracker
        results = run.read_metrics()
        tracker.metrics({name: v for name, v in results.items() if name not in NOT_METRICS})
        for file in (run.config_file, run.metrics_file, run.report_file, run.figures):
            if file.exists():
                tracker.artifact(file)


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
