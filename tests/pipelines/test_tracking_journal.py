"""What is kept of a run's log, and that none of it is lost or sent twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from moe_apps.errors import RunError
from moe_apps.pipelines import tracking
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.pipelines.tracked_run import tracked_folder
from moe_apps.pipelines.tracking import tracked
from moe_apps.pipelines.tracking_entries import refused
from moe_apps.pipelines.tracking_journal import JOURNAL_FILE, Journal
from moe_apps.pipelines.tracking_store import quiet_client
from moe_apps.pipelines.tracking_sync import sync


@pytest.fixture
def uri(tracking_store: str) -> str:
    """Where runs are tracked; it takes seconds to make, so all tests share it."""
    return tracking_store


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.start(RunConfig(domain="toy"))
    return run


class Outage:
    """Makes every sending fail, as a server does that is away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.send, self.away, self.tries = tracking.send, False, 0
        monkeypatch.setattr(tracking, "send", self)

    def __call__(self, *arguments: Any) -> None:
        self.tries += 1
        if self.away:
            raise ConnectionError("connection refused\nand more")
        self.send(*arguments)


def steps_of(uri: str, run: RunFolder, name: str = "loss") -> list[tuple[int, float]]:
    history = quiet_client(uri).get_metric_history(run.read_details()["mlflow_run"], name)
    return [(one.step, one.value) for one in history]


def test_half_a_line_of_a_killed_process_is_left_out(tmp_path: Path) -> None:
    Journal(tmp_path).add({"kind": "tags", "values": {"a": "\u2028"}})
    with (tmp_path / JOURNAL_FILE).open("a") as file:
        file.write('{"kind": "metr')
    again = Journal(tmp_path)
    again.add({"kind": "end"})
    assert [entry["kind"] for entry in Journal(tmp_path).waiting] == ["tags", "end"]
    assert [entry["kind"] for entry in Journal(tmp_path, sent=1).waiting] == ["end"]


def test_a_store_that_comes_back_gets_all_at_the_end(
    uri: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(monkeypatch)
    with tracked_folder("toy", run) as tracker:
        tracker.epoch(1, {"loss": 3.0})
        outage.away, tries = True, outage.tries
        for epoch in (2, 3, 4):
            tracker.epoch(epoch, {"loss": 4.0 - epoch})
        assert outage.tries == tries + 1  # a store that failed is left alone for a while
        outage.away = False
    assert steps_of(uri, run) == [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.0)]
    found = quiet_client(uri).get_run(tracker.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["system/process_memory_megabytes"] > 0
    [record] = [record for record in caplog.records if record.name == "moe_apps"]
    assert f"connection refused (moe-apps sync {run.path} sends it later)" in record.getMessage()


def test_what_is_missing_is_sent_once(
    uri: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    (run.path / "figures").mkdir()
    run.figures.joinpath("a.png").write_bytes(b"image")
    with pytest.raises(KeyboardInterrupt), tracked_folder("toy", run) as tracker:
        tracker.parameters({"seed": 1})
        tracker.epoch(1, {"loss": 2.0})
        outage.away = True
        tracker.epoch(2, {"loss": 1.0})
        tracker.dataset("a.csv", digest="0f3a", source="a.csv", facts={"rows": 3})
        tracker.artifact(run.figures, "figures")
        raise KeyboardInterrupt
    client = quiet_client(uri)
    assert client.get_run(tracker.run_id).info.status == "RUNNING"
    # The folder may have moved in the meantime.
    moved = RunFolder(run.path.rename(run.path.with_name("moved")))
    found = sync(moved)
    assert (found["sent"], found["refused"]) == (3, [])
    assert found["mlflow_run"] == tracker.run_id
    assert steps_of(uri, moved) == [(1, 2.0), (2, 1.0)]
    entry = client.get_run(tracker.run_id)
    assert entry.info.status == "KILLED"
    assert entry.inputs.dataset_inputs[0].dataset.digest == "0f3a"
    assert [file.path for file in client.list_artifacts(tracker.run_id, "figures")] == [
        "figures/a.png"
    ]
    assert sync(moved)["sent"] == 0
    # All of it once more, as after a process that was killed before it wrote how far it was.
    moved.write_details(mlflow_sent=0)
    assert sync(moved)["sent"] == 5
    assert steps_of(uri, moved) == [(1, 2.0), (2, 1.0)]
    assert len(client.get_run(tracker.run_id).inputs.dataset_inputs) == 1


def test_a_store_that_was_never_there_gets_the_run_later(
    uri: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    with tracked_folder("toy", run) as tracker:
        tracker.epoch(1, {"loss": 2.0})
    assert tracker.run_id is None
    with pytest.raises(RunError, match=r"^sqlite:////proc/none/mlflow\.db: MLflow could not be"):
        sync(run)
    found = sync(run, to=uri)
    entry = quiet_client(uri).get_run(found["mlflow_run"])
    assert (entry.info.status, entry.info.run_name) == ("FINISHED", "run")
    assert abs(entry.info.start_time / 1000 - time.time()) < 600
    assert steps_of(uri, run) == [(1, 2.0)]
    assert sync(run)["sent"] == 0  # the new store is the run's own now


def test_an_end_that_was_not_sent_does_not_end_a_resumed_run(
    uri: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    with pytest.raises(KeyboardInterrupt), tracked_folder("toy", run) as first:
        outage.away = True
        first.epoch(1, {"loss": 2.0})
        raise KeyboardInterrupt
    outage.away = False
    with tracked_folder("toy", run) as second:
        assert second.run_id == first.run_id
        assert quiet_client(uri).get_run(first.run_id).info.status == "RUNNING"
        second.epoch(2, {"loss": 1.0})
    assert steps_of(uri, run) == [(1, 2.0), (2, 1.0)]
    assert quiet_client(uri).get_run(first.run_id).info.status == "FINISHED"


def test_what_is_refused_holds_up_nothing(uri: str, run: RunFolder) -> None:
    with tracked_folder("toy", run) as tracker:
        tracker.artifact(run.path / "no such file")
        tracker.epoch(1, {"loss": 2.0})
    assert steps_of(uri, run) == [(1, 2.0)]
    assert sync(run)["sent"] == 0


def test_only_what_would_never_be_taken_is_given_up() -> None:
    class Answer(Exception):
        def __init__(self, status: int) -> None:
            self.response = self
            self.status_code = status

    assert [refused(Answer(status)) for status in (400, 413, 404)] == [True] * 3
    assert [refused(Answer(status)) for status in (401, 403, 429, 500, 503)] == [False] * 5


def test_a_part_of_a_run_names_it(uri: str) -> None:
    with tracked("toy", uri=uri) as whole, tracked("toy", uri=uri, parent=whole.run_id) as part:
        pass
    tags = quiet_client(uri).get_run(part.run_id).data.tags
    assert tags["mlflow.parentRunId"] == whole.run_id


def test_a_folder_in_which_nothing_was_logged(uri: str, run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"has no tracking\.jsonl, so nothing was logged"):
        sync(run)
