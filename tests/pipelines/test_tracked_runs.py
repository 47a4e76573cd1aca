"""Runs read back from MLflow, and shown beside their baselines."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moe_apps.cli import app
from moe_apps.errors import RunError
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_run
from moe_apps.pipelines.tracked_runs import tracked_runs
from moe_apps.pipelines.tracking import tracked
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.registry import DOMAINS
from moe_apps.serving.champions import crown
from toy_domain import Toy


class Compared(Toy):
    name = "compared"


@pytest.fixture(scope="module")
def runs(tracking_store: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ids of three finished runs by name, two of them judged by the same test part; a trial."""
    folder, ids = tmp_path_factory.mktemp("runs"), {}
    for name, digest, mae in (("a", "77b0" * 4, 0.5), ("b", "77b0" * 4, 0.3), ("c", "0f3a", 0.4)):
        run = RunFolder(folder / name)
        facts = {"source": "x.csv", "digest": "1", "test_digest": digest}
        with tracked_run(RunConfig(domain="compared", seed=4), run, False, facts) as tracker:
            run.write_metrics(
                {
                    "system": "mean",
                    "test": {"mae": mae},
                    "dense_twin": {"mae": 1.0} if name == "a" else None,
                    "baselines": {"repeat_last": {"mae": 0.25, "by_step": {"mae": 9.0}}},
                    "parameters": {"total": 1000, "active": 10},
                }
            )
        ids[name] = str(tracker.run_id)
    with tracked("compared") as trial:
        trial.metrics({"best": {"val_mae": 0.1}})
    client = quiet_client(tracking_store)
    client.create_registered_model("compared")
    version = client.create_model_version("compared", f"runs:/{ids['b']}/model", ids["b"])
    assert crown(client, "compared", version.version, {"value": "0.3"})
    return ids


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DOMAINS._entries, "compared", Compared())


def test_runs_of_one_test_part_stand_together_best_first(runs: dict[str, str]) -> None:
    rows = tracked_runs(Compared())
    assert [row["run"] for row in rows] == ["c", "b", "a"]
    assert [row["id"] for row in rows] == [runs["c"], runs["b"], runs["a"]]
    last = rows[-1]
    assert (last["metric"], last["model"], last["dense_twin"]) == ("mae", 0.5, 1.0)
    assert last["baselines"] == {"repeat_last": 0.25}
    assert (last["system"], last["seed"], last["active"], last["total"]) == ("mean", 4, 10, 1000)
    assert [row["champion"] for row in rows] == [False, True, False]
    assert rows[0]["dense_twin"] is None
    assert [row["run"] for row in tracked_runs(Compared(), most=1)] == ["c"]


def test_the_command_prints_a_table_json_and_csv(runs: dict[str, str]) -> None:
    def shown(*options: str) -> str:
        done = CliRunner().invoke(app, ["compare", "compared", *options])
        assert done.exit_code == 0, done.output
        return done.stdout

    table = shown()
    assert table.startswith("compared: mae") and "Figures can be compared where" in table
    assert all(text in table for text in ("0.3", "0.25", "mean", "champion"))
    found = json.loads(shown("--json"))["runs"]
    assert [(row["domain"], row["run"]) for row in found] == [
        ("compared", "c"), ("compared", "b"), ("compared", "a"),
    ]  # fmt: skip
    rows = list(csv.DictReader(StringIO(shown("--csv"))))
    assert rows[1]["model"] == "0.3" and rows[1]["baselines.repeat_last"] == "0.25"


def test_where_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    done = CliRunner().invoke(app, ["compare", "compared"])
    assert done.stdout == "No run with a result is tracked here.\n"
    assert not (tmp_path / "none.db").exists()
    assert CliRunner().invoke(app, ["compare", "nothing"]).exit_code == 2


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match=r"^http://127.0.0.1:9: MLflow could not be reached: .+$"):
        tracked_runs(Compared(), uri="http://127.0.0.1:9")
