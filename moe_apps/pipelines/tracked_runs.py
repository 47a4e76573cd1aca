"""Reads runs of a domain, with their baselines, back from MLflow."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_apps.errors import RunError
from moe_apps.pipelines.domain import Domain
from moe_apps.pipelines.tracking_store import quiet_client, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

BASELINES = "baselines."


def tracked_runs(domain: Domain, most: int = 20, uri: str | None = None) -> list[dict[str, Any]]:
    """Return the newest runs of a domain that have a result on their test part, best first.

    Args:
        domain: The domain; its `headline` is what is compared.
        most: Number of runs.
        uri: Where they are tracked; `None` for `tracking_uri()`.

    Returns:
        For each run `run` (name), `id`, `started` (ISO 8601), `system`, `seed`, `test_digest`
        (runs with one digest were judged by the same test part; `None` for older ones), `metric`
        (name), `higher_is_better`, `model` and `dense_twin` (its values), `baselines` (name to
        value), `active` and `total` parameters, `champion` (whether its model has that alias).

    Raises:
        RunError: MLflow does not answer.

    Example:
        >>> from moe_apps.pipelines.forecasting import DOMAIN
        >>> tracked_runs(DOMAIN, uri="sqlite:////proc/none/mlflow.db")
        []
    """
    uri = uri or tracking_uri()
    # MLflow would make a file that is not there.
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return []
    try:
        rows = _rows(quiet_client(uri), domain, most)
    except Exception as error:  # whatever a database, server or file system may raise
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise RunError(f"{uri}: MLflow could not be reached: {reason}") from error
    sign = -1 if domain.higher_is_better else 1
    return sorted(rows, key=lambda row: (str(row["test_digest"]), sign * row["model"]))


def _rows(client: MlflowClient, domain: Domain, most: int) -> list[dict[str, Any]]:
    experiment = client.get_experiment_by_name(domain.name)
    if experiment is None:
        return []
    headline = f"test.{domain.headline}"
    champion = _champion(client, domain.name)
    found = client.search_runs(
        [experiment.experiment_id],
        # A trial of a tuning has no result on the test part.
        filter_string=f"metrics.`{headline}` > -1000000000000",
        max_results=most,
        order_by=["attributes.start_time DESC"],
    )
    return [_row(run, domain, champion) for run in found]


def _row(run: Any, domain: Domain, champion: str | None) -> dict[str, Any]:
    metrics, params, tags = run.data.metrics, run.data.params, run.data.tags
    headline = domain.headline
    baselines = {
        name.removeprefix(BASELINES).removesuffix(f".{headline}"): value
        for name, value in metrics.items()
        if name.startswith(BASELINES) and name.endswith(f".{headline}")
    }
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return {
        "run": run.info.run_name,
        "id": run.info.run_id,
        "started": started.isoformat(timespec="seconds"),
        "system": tags.get("system") or params.get("model.name"),
        "seed": int(params["seed"]) if params.get("seed", "").isdecimal() else None,
        "test_digest": tags.get("test_digest"),
        "metric": headline,
        "higher_is_better": domain.higher_is_better,
        "model": metrics[f"test.{headline}"],
        "dense_twin": metrics.get(f"dense_twin.{headline}"),
        # Deeper figures, such as those of a part of the data, have a dot in their name.
        "baselines": {name: value for name, value in baselines.items() if "." not in name},
        "active": _whole(metrics.get("parameters.active")),
        "total": _whole(metrics.get("parameters.total")),
        "champion": run.info.run_id == champion,
    }


def _champion(client: MlflowClient, name: str) -> str | None:
    """Id of the run whose model is the champion."""
    if not client.search_registered_models(f"name = '{name}'"):
        return None
    version = client.get_registered_model(name).aliases.get("champion")
    run_id: str | None = client.get_model_version(name, version).run_id if version else None
    return run_id


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
