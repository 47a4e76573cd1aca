"""Every domain can be tuned, by its validation part alone."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from moe_apps import api
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.registry import DOMAINS

SMALL: dict[str, list[str]] = {
    "forecasting": [
        "data.look_back=24", "data.horizon=12", "model.num_layers=1", "model.hidden_dim=8",
        "train.epochs=2", "train.steps_per_epoch=2", "train.batch_size=4", "evaluation.stride=24",
    ],
    "recommendation": ["data.rows=600", "train.epochs=2", "train.steps_per_epoch=2"],
    "trajectory": [
        "train.epochs=2", "train.steps_per_epoch=2", "data.simulator.roads=4",
        "data.simulator.seconds=30", "data.train_windows=200", "evaluation.validation_windows=50",
    ],
    "deraining": ["train.epochs=2", "train.steps_per_epoch=2", "evaluation.validation_images=1"],
    "acoustic": ["train.epochs=2", "train.steps_per_epoch=2", "data.generator.recordings=24"],
}  # fmt: skip
READS = {
    "forecasting": "windowed_data",
    "recommendation": "prepare",
    "trajectory": "windowed_data",
    "deraining": "examples",
}
"""Function of the domain's pipeline whose result has the test part as `test`."""
SLOWER = ("forecasting", "trajectory", "deraining", "acoustic")


@pytest.mark.parametrize(
    "name",
    ["recommendation", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOWER)],
)
def test_a_study_never_looks_at_the_test_part(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_store: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if name in READS:
        pipeline = import_module(f"moe_apps.pipelines.{name}.pipeline")
        read = getattr(pipeline, READS[name])

        def without_test(*arguments: Any, **options: Any) -> Any:
            return replace(read(*arguments, **options), test=None)

        monkeypatch.setattr(pipeline, READS[name], without_test)
    found = api.tune(name, trials=2, output="study", quick=True, set=SMALL[name])
    assert [row["state"] for row in found["trials"]] == ["complete", "complete"]
    assert found["metric"] == DOMAINS.get(name).monitor
    trial = RunFolder(Path("study/trials/0001"))
    assert trial.history_file.is_file() and not trial.checkpoint.exists()
    run = quiet_client(tracking_store).get_run(trial.read_details()["mlflow_run"])
    assert "learning_rate" in run.data.metrics and run.data.tags["mlflow.parentRunId"]
    loads = {metric for metric in run.data.metrics if "/load_" in metric}
    gates = {metric.split("/load_")[0] for metric in loads}
    # How often each expert is taken, and how sure the gate is, by layer or gate.
    assert gates and all(f"{gate}/entropy" in run.data.metrics for gate in gates)
