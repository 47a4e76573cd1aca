"""Sends the entries of a run's journal to MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from moe_apps.pipelines.tracking_journal import Entry
from moe_apps.pipelines.tracking_store import ANSWER_TIMEOUT, TIMEOUT

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What MLflow takes: entries a request, characters of a value, of a tag and of a digest.
PARAMETERS_AT_ONCE, METRICS_AT_ONCE = 100, 1000
VALUE_LENGTH, TAG_LENGTH, DIGEST_LENGTH = 6000, 5000, 36
UPLOAD_TIMEOUT = "120"
"""Seconds for a file: a server may pass it on to a store of its own before it answers."""


def send(client: MlflowClient, run_id: str, entry: Entry, folder: Path | None) -> None:
    """Send one entry; raises whatever a database, server or file system may raise.

    Args:
        client: Client of the store.
        run_id: The run there.
        entry: What to send, by its `kind`: parameters, metrics, tags, dataset, artifact or end.
        folder: What the path of an artifact starts from.

    Example:
        >>> send(client, run_id, {"kind": "tags", "values": {"a": "b"}}, None)  # doctest: +SKIP
    """
    kind = entry["kind"]
    if kind == "parameters":
        _parameters(client, run_id, entry)
    elif kind == "metrics":
        _metrics(client, run_id, entry)
    elif kind == "tags":
        _tags(client, run_id, entry)
    elif kind == "dataset":
        _dataset(client, run_id, entry)
    elif kind == "artifact":
        path = Path(entry["path"]) if folder is None else folder / entry["path"]
        with time_for_files():
            store = client.log_artifacts if path.is_dir() else client.log_artifact
            store(run_id, str(path), entry.get("folder"))
    elif kind == "end":
        client.set_terminated(run_id, entry["status"], entry["time"])


def refused(error: Exception) -> bool:
    """Whether an entry is at fault and not the way to the store: it would never be taken.

    Example:
        >>> refused(FileNotFoundError("a.png")), refused(ConnectionError("refused"))
        (True, False)
    """
    if isinstance(error, FileNotFoundError):
        return True
    answer = getattr(error, "response", None)  # of requests
    status = getattr(answer, "status_code", None)
    if status is None and hasattr(error, "get_http_status_code"):  # of MLflow
        status = error.get_http_status_code()
    # Who is not let in, too slow or too often there may come again.
    return status is not None and 400 <= status < 500 and status not in (401, 403, 408, 429)


@contextmanager
def time_for_files() -> Iterator[None]:
    """Wait longer for an answer while files are sent, unless the user has set a time."""
    if os.environ.get(TIMEOUT) != ANSWER_TIMEOUT:
        yield
        return
    os.environ[TIMEOUT] = UPLOAD_TIMEOUT
    try:
        yield
    finally:
        os.environ[TIMEOUT] = ANSWER_TIMEOUT


def _parameters(client: MlflowClient, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    new = [
        Param(name, str(value)[:VALUE_LENGTH])
        for name, value in entry["values"].items()
        if name not in known
    ]
    for start in range(0, len(new), PARAMETERS_AT_ONCE):
        client.log_batch(run_id, params=new[start : start + PARAMETERS_AT_ONCE])


def _tags(client: MlflowClient, run_id: str, entry: Entry) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(name, str(value)[:TAG_LENGTH]) for name, value in entry["values"].items()]
    client.log_batch(run_id, tags=tags)


def _metrics(client: MlflowClient, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Metric

    found = [Metric(name, value, entry["time"], step) for name, value, step in entry["values"]]
    for start in range(0, len(found), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=found[start : start + METRICS_AT_ONCE])


def _dataset(client: MlflowClient, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(
        name=entry["name"],
        digest=entry["digest"][:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": entry["source"]}),
        profile=json.dumps(entry["facts"]),
    )
    context = InputTag("mlflow.data.context", entry["context"])
    client.log_inputs(run_id, datasets=[DatasetInput(data, [context])])
