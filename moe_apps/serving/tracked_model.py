"""Puts an exported model into MLflow: with its run, and registered under its domain."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from moe_apps.pipelines.atomic_files import read_json
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking_entries import time_for_files
from moe_apps.pipelines.tracking_journal import Journal
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.serving.champions import crown, judged_of
from moe_apps.serving.export import CARD

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.types import Schema

LOG = logging.getLogger("moe_apps")
LOADER = Path(__file__).with_name("saved_model_loader.py")


def log(run: RunFolder) -> bool:
    """Log the run's newest exported model to its MLflow run, and register it as <domain>.

    The model is the SavedModel itself with a loader of a few lines, no pickle, so that
    `mlflow.pyfunc.load_model("models:/forecasting@champion")` works where only MLflow and
    TensorFlow are installed. See `champions` for the alias. Does nothing for a run that is not
    tracked, waits for `moe-apps sync` or is registered already; a failure is reported and costs
    nothing but the entry in MLflow.

    Returns:
        Whether a model was registered.

    Example:
        >>> log(RunFolder.open(Path("runs/forecasting/ett")))  # doctest: +SKIP
        True
    """
    details = run.read_details()
    run_id, uri = details.get("mlflow_run"), details.get("mlflow_uri")
    if not run_id or not uri or Journal(run.path, details.get("mlflow_sent", 0)).waiting:
        return False
    try:
        return _log(quiet_client(uri), str(run_id), str(details["domain"]), run)
    except Exception as error:  # whatever a database, server or file system may raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        LOG.warning("the model is not in MLflow at %s: %s", uri, reason)
        return False


def _log(client: MlflowClient, run_id: str, domain: str, run: RunFolder) -> bool:
    """Log by the client alone, since MLflow's other interface changes what is active globally."""
    from mlflow.entities import LoggedModelOutput

    if not client.search_registered_models(f"name = '{domain}'"):
        client.create_registered_model(domain)
    if client.search_model_versions(f"name = '{domain}' and run_id = '{run_id}'"):
        return False
    exported = _newest(run.saved_model)
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, domain, source_run_id=run_id)
    model_id = model.model_id
    status = "FAILED"
    try:
        with TemporaryDirectory() as folder, time_for_files():
            _save(exported, Path(folder, "model"), run_id, model_id)
            client.log_model_artifacts(model_id, str(Path(folder, "model")))
        status = "READY"
    finally:
        client.finalize_logged_model(model_id, status)
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    judged = judged_of(run, read_json(exported / CARD))
    version = client.create_model_version(
        domain,
        # Named by its place: MLflow would look up models:/<id> in the globally active store.
        model.artifact_location,
        run_id,
        tags=judged,
        model_id=model_id,
    )
    crown(client, domain, str(version.version), judged)
    return True


def _save(exported: Path, folder: Path, run_id: str, model_id: str) -> None:
    """Write the SavedModel as MLflow keeps models."""
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import Model, ModelSignature

    card = read_json(exported / CARD)
    signature = card["signatures"]["serving_default"]
    inputs = read_json(exported / card["example"])["inputs"]
    example = {
        name: np.array(inputs[name], _of_numpy(spec["dtype"]))
        for name, spec in signature["inputs"].items()
    }
    mlflow.pyfunc.save_model(
        folder,
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        loader_module=LOADER.stem,
        code_paths=[str(LOADER)],
        data_path=str(exported),
        signature=ModelSignature(_schema(signature["inputs"]), _schema(signature["outputs"])),
        input_example=example,
        # Given, so that MLflow need not run the model to find out.
        pip_requirements=[f"{name}=={installed(name)}" for name in ("tensorflow", "numpy")],
        # MLflow would take the files of a uv project that it finds in the working directory.
        uv_project_path=folder.parent,
    )


def _schema(tensors: Mapping[str, Any]) -> Schema:
    from mlflow.types import Schema, TensorSpec

    return Schema(
        [
            TensorSpec(
                _of_numpy(spec["dtype"]),
                tuple(-1 if size is None else size for size in spec["shape"]),
                name,
            )
            for name, spec in tensors.items()
        ]
    )


def _of_numpy(dtype: str) -> Any:
    """NumPy's dtype of a name of TensorFlow's."""
    import numpy as np

    return np.dtype("str" if dtype == "string" else dtype)


def _newest(saved_model: Path) -> Path:
    return max(
        (entry for entry in saved_model.iterdir() if entry.name.isdecimal()),
        key=lambda entry: int(entry.name),
    )
