"""Runs in MLflow: parameters, values by epoch, results, data and files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_apps.pipelines.system_load import SystemLoad
from moe_apps.pipelines.tracking_entries import refused, send
from moe_apps.pipelines.tracking_journal import Journal
from moe_apps.pipelines.tracking_store import open_run, quiet_client, tracking_uri
from moe_apps.pipelines.tracking_values import flat, numbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Tracker", "tracked", "tracking_uri"]

LOG = logging.getLogger("moe_apps")
MOST_NAMES = 200
"""A mapping of results with more entries, such as errors by series, is a table: it is in files."""
TRY_AGAIN = 300.0
"""Seconds until a store that failed is tried again: one that is dead may cost some each time."""


class Tracker:
    """One run in MLflow, made by `tracked`.

    Tracking never stops a training: what cannot be sent is reported once and waits, in the run's
    folder if there is one; it is sent when the store answers again, at the latest try when the
    run ends, or later by `moe-apps sync`.

    Args:
        uri: Where the run is tracked.
        journal: Where entries wait.
        domain: Experiment of the run.
        name: Name of the run; `None` lets MLflow choose one.
        parent: Id of the run that this one is part of.

    Attributes:
        run_id: Id of the run; `None` while it could not be started.
    """

    def __init__(
        self,
        uri: str,
        journal: Journal,
        domain: str,
        name: str | None = None,
        parent: str | None = None,
    ) -> None:
        self.uri = uri
        self.journal = journal
        self.domain = domain
        self.name = name
        self.parent = parent
        self.run_id: str | None = None
        self._client: MlflowClient | None = None
        self._not_before = 0.0
        self._reported = self._ended = False
        self._load = SystemLoad()

    def start(self, run_id: str | None = None) -> None:
        """Begin a run, or go on with the run `run_id` if it exists; send what is waiting."""
        self.run_id = run_id
        self._flush()

    def parameters(self, settings: Mapping[str, Any]) -> None:
        """Log nested settings under dotted names; those logged before stay as they are."""
        self._log("parameters", values={name: str(value) for name, value in flat(settings)})

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch and the machine's load; fits `on_epoch` of `training.fit`."""
        values = {name: value for name, value in values.items() if name != "epoch"}
        self.metrics({**values, **self._load.read()}, step=epoch)

    def metrics(self, results: Mapping[str, Any], *, step: int = 0) -> None:
        """Log every finite number of nested results under its dotted name.

        A list of numbers becomes one metric with steps from 1; texts and gaps are left out, and so
        are mappings of more than `MOST_NAMES` entries.
        """
        values = [
            (name, value, at)
            for name, content in flat(results, most=MOST_NAMES)
            for value, at in numbers(content, step)
        ]
        self._log("metrics", values=values)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Log texts by which runs are found; those logged before are replaced."""
        self._log("tags", values={name: str(value) for name, value in flat(values)})

    def dataset(
        self,
        name: str,
        *,
        digest: str,
        source: str,
        facts: Mapping[str, Any] | None = None,
        context: str = "training",
    ) -> None:
        """Log what the run was trained on, or judged by.

        Args:
            name: Name of the data.
            digest: Hash of the content; MLflow keeps its first 36 characters.
            source: File or address it came from.
            facts: What else to say, such as numbers of rows and series.
            context: `training` or `testing`.
        """
        facts = facts or {}
        self._log("dataset", name=name, digest=digest, source=source, facts=facts, context=context)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, with the run, under `folder`."""
        own = self.journal.folder
        if own is not None and path.is_relative_to(own):
            # Its place in the folder, which may be moved before it is sent.
            place = path.relative_to(own)
        else:
            place = path.absolute()
        self._log("artifact", path=str(place), folder=folder)

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; tried even soon after a failure."""
        self._not_before, self._ended = 0.0, True
        self._log("end", status=status)

    def _log(self, kind: str, **content: Any) -> None:
        try:
            self.journal.add({"kind": kind, "time": int(time.time() * 1000), **content})
        except OSError as error:
            self._report(error)
        self._flush()

    def _flush(self) -> None:
        """Send what is waiting, unless the store failed a short while ago."""
        if time.monotonic() < self._not_before:
            return
        try:
            client = self._client or self._begin()
            assert self.run_id is not None
            while self.journal.waiting:
                self._send(client, self.run_id)
        except Exception as error:  # whatever a database, server or file system may raise
            self._report(error)
            self._not_before = time.monotonic() + TRY_AGAIN

    def _begin(self) -> MlflowClient:
        client = quiet_client(self.uri)
        waiting = self.journal.waiting
        found = open_run(
            client,
            self.domain,
            name=self.name,
            run_id=self.run_id,
            parent=self.parent,
            started=waiting[0]["time"] if waiting else None,
        )
        if found != self.run_id:
            self.journal.rewind()
        self.run_id, self._client = found, client
        return client

    def _send(self, client: MlflowClient, run_id: str) -> None:
        entry = self.journal.waiting[0]
        # An end that an earlier session of a resumed run could not send is none any more.
        if entry["kind"] != "end" or (self._ended and len(self.journal.waiting) == 1):
            try:
                send(client, run_id, entry, self.journal.folder)
            except Exception as error:
                if not refused(error):
                    raise
                self._report(error, "refused something")
        self.journal.acknowledge()

    def _report(self, error: Exception, what: str = "stopped") -> None:
        if not self._reported:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            folder = self.journal.folder
            later = "" if folder is None else f" (moe-apps sync {folder} sends it later)"
            LOG.warning("tracking in MLflow at %s %s: %s%s", self.uri, what, reason, later)
        self._reported = True


@contextmanager
def tracked(
    domain: str,
    *,
    name: str | None = None,
    run_id: str | None = None,
    uri: str | None = None,
    folder: Path | None = None,
    sent: int = 0,
    parent: str | None = None,
) -> Iterator[Tracker]:
    """Track what happens inside as a run; Ctrl-C ends it as KILLED, an error as FAILED.

    Args:
        domain: Experiment of the run.
        name: Name of the run; `None` lets MLflow choose one.
        run_id: Run to go on with; a new one begins if it is not there any more.
        uri: Where to track; `None` for `tracking_uri()`.
        folder: Folder of the run, to keep what is logged; `None` keeps nothing on disk.
        sent: How many entries kept there are sent already.
        parent: Id of the run that a new one is part of.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with tracked("demo", uri=f"sqlite:///{folder}/mlflow.db") as tracker:
        ...         tracker.metrics({"test": {"mse": 0.5}})
        ...     quiet_client(tracker.uri).get_run(tracker.run_id).data.metrics
        {'test.mse': 0.5}
    """
    tracker = Tracker(uri or tracking_uri(), Journal(folder, sent), domain, name, parent)
    tracker.start(run_id)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.end(status)
