"""Runs in MLflow: parameters, values by epoch, results, data and files."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_apps.pipelines.tracking_store import open_run, quiet_client, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Tracker", "tracked", "tracking_uri"]

LOG = logging.getLogger("moe_apps")
# What MLflow takes: entries a request, characters of a parameter's value and of a digest.
PARAMETERS_AT_ONCE, METRICS_AT_ONCE, VALUE_LENGTH, DIGEST_LENGTH = 100, 1000, 6000, 36
MOST_NAMES = 200
"""A mapping of results with more entries, such as errors by series, is a table: it is in files."""


class Tracker:
    """One run in MLflow, made by `tracked`.

    Tracking never stops a training: the first call that fails is reported, and no more are made.

    Attributes:
        uri: Where the run is tracked.
        run_id: Id of the run; `None` when it could not be started.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.run_id: str | None = None
        self._client: MlflowClient | None = None
        self._failed = False

    def start(self, domain: str, name: str | None = None, run_id: str | None = None) -> None:
        """Begin a run of the experiment `domain`, or go on with the run `run_id` if it exists."""

        def begin() -> None:
            client = quiet_client(self.uri)
            self.run_id = open_run(client, domain, name=name, run_id=run_id)
            self._client = client

        self._guarded(begin)

    def parameters(self, settings: Mapping[str, Any]) -> None:
        """Log nested settings under dotted names; those logged before stay as they are."""

        def log(client: MlflowClient, run_id: str) -> None:
            from mlflow.entities import Param

            known = client.get_run(run_id).data.params
            new = [
                Param(name, str(value)[:VALUE_LENGTH])
                for name, value in _flat(settings)
                if name not in known
            ]
            for start in range(0, len(new), PARAMETERS_AT_ONCE):
                client.log_batch(run_id, params=new[start : start + PARAMETERS_AT_ONCE])

        self._attempt(log)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch; fits `on_epoch` of `training.fit`."""
        self.metrics({name: v for name, v in values.items() if name != "epoch"}, step=epoch)

    def metrics(self, results: Mapping[str, Any], *, step: int = 0) -> None:
        """Log every finite number of nested results under its dotted name.

        A list of numbers becomes one metric with steps from 1; texts and gaps are left out, and so
        are mappings of more than `MOST_NAMES` entries.
        """

        def log(client: MlflowClient, run_id: str) -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            entries = [
                Metric(name, value, now, at)
                for name, content in _flat(results, most=MOST_NAMES)
                for value, at in _numbers(content, step)
            ]
            for start in range(0, len(entries), METRICS_AT_ONCE):
                client.log_batch(run_id, metrics=entries[start : start + METRICS_AT_ONCE])

        self._attempt(log)

    def dataset(
        self, name: str, *, digest: str, source: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Log what the run was trained on.

        Args:
            name: Name of the data.
            digest: Hash of the content; MLflow keeps its first 36 characters.
            source: File or address it came from.
            facts: What else to say, such as numbers of rows and series.
        """

        def log(client: MlflowClient, run_id: str) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            data = Dataset(
                name=name,
                digest=digest[:DIGEST_LENGTH],
                source_type="local",
                source=json.dumps({"uri": source}),
                profile=json.dumps(facts or {}, default=str),
            )
            context = InputTag("mlflow.data.context", "training")
            client.log_inputs(run_id, datasets=[DatasetInput(data, [context])])

        self._attempt(log)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, with the run, under `folder`."""

        def log(client: MlflowClient, run_id: str) -> None:
            store = client.log_artifacts if path.is_dir() else client.log_artifact
            store(run_id, str(path), folder)

        self._attempt(log)

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; tried even after a failure."""
        client = self._client
        if client is not None:
            self._guarded(lambda: client.set_terminated(self.run_id, status))

    def _attempt(self, action: Callable[[MlflowClient, str], None]) -> None:
        client, run_id = self._client, self.run_id
        if client is not None and run_id is not None and not self._failed:
            self._guarded(lambda: action(client, run_id))

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever a database, server or file system may raise
            if not self._failed:
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                LOG.warning("tracking in MLflow at %s stopped: %s", self.uri, reason)
            self._failed = True


@contextmanager
def tracked(
    domain: str, *, name: str | None = None, run_id: str | None = None, uri: str | None = None
) -> Iterator[Tracker]:
    """Track what happens inside as a run; Ctrl-C ends it as KILLED, an error as FAILED.

    Args:
        domain: Experiment of the run.
        name: Name of the run; `None` lets MLflow choose one.
        run_id: Run to go on with; a new one begins if it is not there any more.
        uri: Where to track; `None` for `tracking_uri()`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with tracked("demo", uri=f"sqlite:///{folder}/mlflow.db") as tracker:
        ...         tracker.metrics({"test": {"mse": 0.5}})
        ...     quiet_client(tracker.uri).get_run(tracker.run_id).data.metrics
        {'test.mse': 0.5}
    """
    tracker = Tracker(uri or tracking_uri())
    tracker.start(domain, name, run_id)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)


def _flat(
    content: Mapping[str, Any], prefix: str = "", most: float = math.inf
) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        # MLflow refuses other characters in names.
        dotted = prefix + re.sub(r"[^\w\-. /]", "_", str(name))
        if isinstance(value, Mapping):
            if len(value) <= most:
                yield from _flat(value, f"{dotted}.", most)
        else:
            yield dotted, value


def _numbers(content: Any, step: int) -> Iterator[tuple[float, int]]:
    if isinstance(content, list | tuple):
        for index, value in enumerate(content):
            if not isinstance(value, list | tuple):
                yield from _numbers(value, index + 1)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        if math.isfinite(content):
            yield float(content), step
    elif hasattr(content, "item") and getattr(content, "ndim", 0) == 0:
        yield from _numbers(content.item(), step)
