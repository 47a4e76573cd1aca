"""Where runs are tracked, and the run there to write to."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from moe_apps import __version__

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow reports its use over the network unless it is told not to.
NO_TELEMETRY = ("MLFLOW_DISABLE_TELEMETRY", "true")

# Seconds to wait for an answer of a tracking server.
TIMEOUT, ANSWER_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT", "10"
PARENT = "mlflow.parentRunId"


def tracking_uri() -> str:
    """Return where runs are tracked: MLFLOW_TRACKING_URI, or mlflow.db in the working directory.

    Example:
        >>> tracking_uri() == (os.environ.get("MLFLOW_TRACKING_URI") or _default_uri())
        True
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or _default_uri()


def quiet_client(uri: str) -> MlflowClient:
    """Return an MLflow client that prints nothing and soon gives up on a dead server."""
    # By default MLflow tries for many minutes; a training must not wait for its log.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault(TIMEOUT, ANSWER_TIMEOUT)
    # Standard output carries results; MLflow would print addresses there.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault(*NO_TELEMETRY)
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def open_run(
    client: MlflowClient,
    domain: str,
    *,
    name: str | None = None,
    run_id: str | None = None,
    parent: str | None = None,
    started: int | None = None,
) -> str:
    """Return the id of a running run: `run_id` again, or a new one if it is not there.

    Args:
        client: Client of the store.
        domain: Experiment of a new run.
        name: Its name.
        run_id: The run to go on with.
        parent: Id of the run that a new one is part of.
        started: When a new one began, in milliseconds; by default now.
    """
    return _reopened(client, run_id) or _created(client, domain, name, parent, started)


def _default_uri() -> str:
    return f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def _created(
    client: MlflowClient,
    domain: str,
    name: str | None,
    parent: str | None,
    started: int | None,
) -> str:
    experiment = client.get_experiment_by_name(domain)
    if experiment is None:
        experiment_id = client.create_experiment(domain, _artifact_location(client.tracking_uri))
    else:
        experiment_id = experiment.experiment_id
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
    tags = {
        "mlflow.source.name": "moe-apps",
        "mlflow.source.type": "LOCAL",
        "moe_apps.version": __version__,
    }
    if parent is not None:
        tags[PARENT] = parent
    made = client.create_run(experiment_id, started, tags=tags, run_name=name)
    run_id: str = made.info.run_id
    return run_id


def _reopened(client: MlflowClient, run_id: str | None) -> str | None:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.get_http_status_code() in (400, 404):  # deleted, or never there
            return None
        raise
    return run_id


def _artifact_location(uri: str) -> str | None:
    """Return a folder beside an SQLite file; a server knows itself where its files go."""
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///")).absolute()
    return (database.parent / "mlartifacts").as_uri()
