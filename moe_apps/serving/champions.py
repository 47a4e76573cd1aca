"""Which version of a registered model is its champion: the best by the domain's own metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moe_apps.pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"


def judged_of(run: RunFolder, card: Mapping[str, Any]) -> dict[str, str]:
    """Return how a version was judged, as the texts that MLflow keeps with it.

    Args:
        run: Its run; `data.test_digest` of its metrics says on which test part.
        card: What `MODEL.json` of its export says.

    Example:
        >>> judged_of(run, {"results": {"metric": "mse", "test": 0.5}})  # doctest: +SKIP
        {'metric': 'mse', 'value': '0.5', 'higher_is_better': 'False', 'test_digest': '77b0'}
    """
    results = card["results"]
    metrics = run.read_metrics() if run.metrics_file.is_file() else {}
    found = {
        "metric": results["metric"],
        "value": results["test"],
        "higher_is_better": results.get("higher_is_better", False),
        "test_digest": (metrics.get("data") or {}).get("test_digest"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def better(judged: Mapping[str, str], than: Mapping[str, str]) -> bool:
    """Whether a version is better than another by the same metric on the same test part.

    Two that were judged by other metrics or on other data cannot be compared: then it is not.

    Example:
        >>> old = {"metric": "mse", "value": "0.5", "test_digest": "77b0"}
        >>> better({**old, "value": "0.4"}, old), better({**old, "test_digest": "01"}, old)
        (True, False)
    """
    same = ("metric", "higher_is_better", "test_digest")
    if "test_digest" not in judged or any(judged.get(name) != than.get(name) for name in same):
        return False
    new, old = (float(one.get("value", "nan")) for one in (judged, than))
    if math.isnan(new) or math.isnan(old):
        return not math.isnan(new)
    return new > old if judged.get("higher_is_better") == "True" else new < old


def crown(client: MlflowClient, name: str, version: str, judged: Mapping[str, str]) -> bool:
    """Give a version the alias `champion` if there is none yet, or if it is better.

    Args:
        client: Client of the registry.
        name: Name of the registered model.
        version: The version.
        judged: Of `judged_of`.

    Returns:
        Whether it has the alias now.

    Example:
        >>> crown(client, "forecasting", "3", judged)  # doctest: +SKIP
        True
    """
    aliases = client.get_registered_model(name).aliases
    if CHAMPION in aliases:
        champion = client.get_model_version(name, aliases[CHAMPION])
        if not better(judged, champion.tags):
            return False
    elif "value" not in judged:
        return False
    client.set_registered_model_alias(name, CHAMPION, version)
    return True
