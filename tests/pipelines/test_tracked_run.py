"""A run folder and its run in MLflow, together."""

from __future__ import annotations

from pathlib import Path

import pytest

from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_run
from moe_apps.pipelines.tracking_store import quiet_client


def test_results_and_files_are_stored_at_the_end(tmp_path: Path) -> None:
    config, run = RunConfig(domain="toy", seed=3), RunFolder(tmp_path / "run")
    with tracked_run(config, run, False, source="a/b.csv", digest="0f3a") as tracker:
        run.write_metrics({"test": {"mse": 0.5, "bad": float("nan")}, "data": {"rows": 7}})
    client = quiet_client(tracker.uri)
    tracked = client.get_run(run.read_details()["mlflow_run"])
    assert tracked.data.metrics == {"test.mse": 0.5}
    assert tracked.data.params["seed"] == "3" and tracked.info.status == "FINISHED"
    assert tracked.inputs.dataset_inputs[0].dataset.digest == "0f3a"
    names = {file.path for file in client.list_artifacts(tracker.run_id)}
    assert names == {"config.yaml", "metrics.json"}
    on_again = tracked_run(config, run, True, source="a/b.csv", digest="0f3a")
    with pytest.raises(KeyboardInterrupt), on_again as again:
        raise KeyboardInterrupt
    assert again.run_id == tracker.run_id
    assert client.get_run(tracker.run_id).info.status == "KILLED"
