"""A run folder and its run in MLflow, together."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_run
from moe_apps.pipelines.tracking_store import quiet_client

FACTS = {"source": "a/b.csv", "digest": "0f3a", "test_digest": "77b0", "rows": 7}


def test_results_and_files_are_stored_at_the_end(tmp_path: Path) -> None:
    config, run = RunConfig(domain="toy", seed=3), RunFolder(tmp_path / "run")
    with tracked_run(config, run, False, FACTS) as tracker:
        run.write_metrics(
            {
                "system": "mean",
                "test": {"mse": 0.5, "bad": float("nan")},
                "data": {"rows": 7},
            }
        )
    client = quiet_client(tracker.uri)
    tracked = client.get_run(run.read_details()["mlflow_run"])
    assert tracked.data.metrics == {"test.mse": 0.5}
    assert tracked.data.params["seed"] == "3" and tracked.info.status == "FINISHED"
    data = {
        one.tags[0].value: (one.dataset.name, one.dataset.digest, json.loads(one.dataset.source))
        for one in tracked.inputs.dataset_inputs
    }
    source = {"uri": "a/b.csv"}
    assert data == {
        "training": ("b.csv", "0f3a", source),
        "testing": ("b.csv, test part", "77b0", source),
    }
    profiles = [one.dataset.profile for one in tracked.inputs.dataset_inputs]
    assert any('"rows": 7' in profile for profile in profiles)
    names = {file.path for file in client.list_artifacts(tracker.run_id)}
    assert names == {"config.yaml", "metrics.json", "environment.json"}
    tags = tracked.data.tags
    assert tags["environment.keras"] == keras.__version__ and tags["environment.Memory"]
    assert tags["system"] == "mean" and tags["test_digest"] == "77b0"
    packages = json.loads((run.path / "environment.json").read_text())["packages"]
    assert packages["numpy"] == np.__version__
    on_again = tracked_run(config, run, True, FACTS)
    with pytest.raises(KeyboardInterrupt), on_again as again:
        raise KeyboardInterrupt
    assert again.run_id == tracker.run_id
    assert client.get_run(tracker.run_id).info.status == "KILLED"
