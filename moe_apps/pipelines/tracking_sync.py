"""Sends to MLflow what it lacks of a run, from what the run's folder keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_apps.errors import RunError
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking_entries import refused, send
from moe_apps.pipelines.tracking_journal import JOURNAL_FILE, Journal
from moe_apps.pipelines.tracking_store import open_run, quiet_client, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
"""How a run ended in MLflow's words, by the status in its folder."""


def sync(run: RunFolder, to: str | None = None, parent: str | None = None) -> dict[str, Any]:
    """Send what is missing; a second call finds nothing to send.

    Args:
        run: The folder.
        to: Another store than the one it was tracked in; it becomes the run's own.
        parent: Id of the run that this one is part of, if it has to be made anew.

    Returns:
        `run` (the folder), `uri`, `mlflow_run` (its id there), `sent` (number of entries: the
        values of an epoch are one, a file or folder is one) and `refused` (reasons).

    Raises:
        RunError: Nothing was logged, or the store does not answer; what was sent until then is
            not sent again.

    Example:
        >>> sync(RunFolder.open(Path("runs/forecasting/ett")))["sent"]  # doctest: +SKIP
        12
    """
    details = run.read_details()
    own = details.get("mlflow_uri")
    uri = to or own or tracking_uri()
    run_id, sent = (
        (details.get("mlflow_run"), details.get("mlflow_sent", 0)) if uri == own else (None, 0)
    )
    if run_id is None and not (run.path / JOURNAL_FILE).is_file():
        raise RunError(f"{run.path}: has no {JOURNAL_FILE}, so nothing was logged in this run")
    journal = Journal(run.path, sent)
    result: dict[str, Any] = {
        "run": run.path,
        "uri": uri,
        "mlflow_run": run_id,
        "sent": 0,
        "refused": [],
    }
    try:
        client = quiet_client(uri)
        if journal.waiting or not _is_there(client, run_id):
            _send_all(client, run, journal, result, parent)
    except Exception as error:  # whatever a database, server or file system may raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise RunError(f"{uri}: MLflow could not be reached: {reason}") from error
    return result


def _send_all(
    client: MlflowClient,
    run: RunFolder,
    journal: Journal,
    result: dict[str, Any],
    parent: str | None,
) -> None:
    details, everything = run.read_details(), Journal(run.path).waiting
    found = open_run(
        client,
        str(details["domain"]),
        name=run.path.name,
        run_id=result["mlflow_run"],
        parent=parent,
        started=everything[0]["time"] if everything else None,
    )
    if found != result["mlflow_run"]:
        journal.rewind()
    result["mlflow_run"] = found
    try:
        while journal.waiting:
            entry = journal.waiting[0]
            if entry["kind"] != "end":
                try:
                    send(client, found, entry, journal.folder)
                except Exception as error:
                    if not refused(error):
                        raise
                    result["refused"].append(f"{entry['kind']}: {str(error).splitlines()[0]}")
                result["sent"] += 1
            journal.acknowledge()
    finally:
        run.write_details(mlflow_run=found, mlflow_uri=result["uri"], mlflow_sent=journal.sent)
    last = everything[-1] if everything else {"kind": ""}
    if last["kind"] == "end":
        client.set_terminated(found, last["status"], last["time"])
    elif status := STATUS.get(details.get("status", "")):
        client.set_terminated(found, status)


def _is_there(client: MlflowClient, run_id: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return False
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.get_http_status_code() == 404:
            return False
        raise


def folders_of(run: RunFolder) -> list[Path]:
    """Folders of the runs that are part of a run, in order: the trials of a tuning.

    Example:
        >>> folders_of(RunFolder(Path("nowhere")))
        []
    """
    return sorted(file.parent for file in run.path.glob("trials/*/run.json"))
