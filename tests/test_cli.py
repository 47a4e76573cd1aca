from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from moe_apps import __version__, api
from moe_apps.cli import app
from moe_apps.errors import RunError
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS
from toy_domain import Toy


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain to train in no time, and an exporter that records what it is asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DOMAINS._entries, "toy", Toy())
    monkeypatch.setitem(DOMAINS._entries, "other", Toy())
    exporting, tracking = ModuleType("export"), ModuleType("tracked_model")

    def export(run: RunFolder, to: Path, version: int | None) -> Path:
        folder = to / str(version or 5)
        folder.mkdir(parents=True)
        return folder

    exporting.export = export  # type: ignore[attr-defined]
    tracking.log = lambda run: run.write_details(logged=True)  # type: ignore[attr-defined]
    serving = ModuleType("moe_apps.serving")
    serving.export, serving.tracked_model = exporting, tracking  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moe_apps.serving", serving)
    monkeypatch.setattr(api, "_loaded_backend", lambda: "tensorflow")


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments: object) -> str:
    """Run what must be refused: one line on standard error, exit code 2."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("moe-apps: error: ").strip()


def test_train_prints_a_table_and_says_who_won() -> None:
    result = run("train", "toy", "--output", "run")
    lines = result.stdout.splitlines()
    order = [
        name for line in lines for name in ("repeat_last", "the model", "zero") if name in line
    ]
    assert order[:3] == ["repeat_last", "the model", "zero"]
    assert "repeat_last does better than the model: mae 0.25 against 0.5." in result.stdout
    assert "1,000 in all, 10 active" in result.stdout
    assert "chatter" in result.stderr
    assert "chatter" not in result.stdout
    assert RunFolder.open(Path("run")).read_details()["status"] == "finished"
    assert RunFolder.open(Path("run")).read_details()["logged"] is True
    assert Path("run/saved_model/1").is_dir()


def test_json_is_the_last_line() -> None:
    last = run("train", "toy", "--output", "run", "--json").stdout.splitlines()[-1]
    result = json.loads(last)
    assert result["test"] == {"mae": 0.5, "mase": None}
    paths = result.pop("paths")
    assert result == json.loads(Path("run/metrics.json").read_text())
    assert paths["run"] == "run"
    assert paths["saved_model"] == "run/saved_model"


def test_every_option_reaches_the_settings(tmp_path: Path) -> None:
    Path("a.csv").write_text("1\n2\n")
    Path("c.yaml").write_text("seed: 1\ntrain: {epochs: 5}\n")
    given = ["--data", "a.csv", "--config", "c.yaml", "--seed", "3", "--set", "train.epochs=7"]
    result = json.loads(run("train", "toy", *given, "--output", "run", "--json").stdout)
    assert (result["seed"], result["epochs"], result["data"]["rows"]) == (3, 7, 2)
    text = Path("run/config.yaml").read_text()
    assert "path: a.csv" in text
    again = json.loads(run("train", "toy", "--config", "run/config.yaml", "--json").stdout)
    assert (again["seed"], again["epochs"]) == (3, 7)
    assert Path(again["paths"]["run"]).parent == Path("runs/toy")


def test_quick_wins_over_a_file_and_set_over_quick() -> None:
    Path("c.yaml").write_text("train: {epochs: 5}\n")
    quick = ["train", "toy", "--config", "c.yaml", "--quick", "--json"]
    assert json.loads(run(*quick).stdout)["epochs"] == 1
    assert json.loads(run(*quick, "--set", "train.epochs=2").stdout)["epochs"] == 2


def test_mistakes_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    Path("empty.csv").touch()
    Path("late.csv").write_text("late error")
    before = sorted(tmp_path.rglob("*"))
    assert error("train", "tou").startswith("unknown domain 'tou': known are ")
    assert error("train", "toy", "--set", "train.epoch=1") == (
        "--set train.epoch: no such setting; the nearest is train.epochs"
    )
    assert error("train", "toy", "--config", "none.yaml").startswith("none.yaml: cannot be read")
    assert error("train", "toy", "--seed", "-1").startswith("seed: ")
    assert error("train", "toy", "--data", "empty.csv", "--output", "run") == "empty.csv: is empty"
    assert error("train", "toy", "--data", "late.csv", "--output", "run").endswith("no number")
    assert error("evaluate", "nowhere") == "nowhere: no such run folder"
    assert "run.json is missing" in error("export", ".", "--to", "out")
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "runs") == before


def test_an_existing_output_is_refused_without_force() -> None:
    run("train", "toy", "--output", "run", "--seed", "1")
    assert error("train", "toy", "--output", "run").endswith("name another folder or add --force")
    run("train", "toy", "--output", "run", "--seed", "2", "--force")
    assert "seed: 2" in Path("run/config.yaml").read_text()


def test_force_keeps_the_old_run_when_the_data_are_bad() -> None:
    Path("empty.csv").touch()
    run("train", "toy", "--output", "run", "--seed", "1")
    error("train", "toy", "--output", "run", "--force", "--data", "empty.csv")
    assert "seed: 1" in Path("run/config.yaml").read_text()


def test_ctrl_c_says_how_to_resume_and_resume_does() -> None:
    Path("a.csv").write_text("interrupt\n")
    result = run("train", "toy", "--data", "a.csv", "--output", "run", "--seed", "4", code=130)
    assert result.stderr == "moe-apps: interrupted; go on by: moe-apps train toy --resume run\n"
    assert RunFolder.open(Path("run"), trained=False).read_details()["status"] == "interrupted"
    assert "status: interrupted" in error("evaluate", "run")
    assert "give no others" in error("train", "toy", "--resume", "run", "--seed", "5")
    assert error("train", "other", "--resume", "run") == "run: is a run of toy, not of other"
    resumed = json.loads(run("train", "toy", "--resume", "run", "--json").stdout)
    assert resumed["seed"] == 4
    assert (
        error("train", "toy", "--resume", "run") == "run: is finished, there is nothing to resume"
    )


def test_a_bug_of_ours_is_not_hidden() -> None:
    Path("a.csv").write_text("bug")
    result = CliRunner().invoke(app, ["train", "toy", "--data", "a.csv", "--output", "run"])
    assert isinstance(result.exception, ZeroDivisionError)
    assert RunFolder.open(Path("run"), trained=False).read_details()["status"] == "failed"


def test_a_file_of_another_domain_is_refused() -> None:
    Path("c.yaml").write_text("domain: forecasting\n")
    assert error("train", "toy", "--config", "c.yaml") == (
        "c.yaml: is for the domain forecasting, not toy"
    )


def test_inspect() -> None:
    Path("x.txt").write_text("1\n[b]2\n")
    shown = run("inspect", "toy", "x.txt").stdout
    assert "rows: 2\n" in shown and "  length in: [m]\n" in shown and "note: odd\n" in shown
    assert "[b]2" in shown and "line" in shown
    assert json.loads(run("inspect", "toy", "x.txt", "--json").stdout)["each"][1]["line"] == 2
    assert error("inspect", "toy", "y.txt") == "y.txt: no such file or folder"
    assert error("inspect", "nope", "x.txt").startswith("unknown domain 'nope'")


def test_evaluate_predict_export() -> None:
    run("train", "toy", "--output", "run")
    Path("x.csv").touch()
    assert "the model" in run("evaluate", "run").stdout
    evaluated = json.loads(run("evaluate", "run", "--data", "x.csv", "--json").stdout)
    assert evaluated["data"] == {"path": "x.csv"}
    predicted = run("predict", "run", "--input", "x.csv", "--output", "y.csv")
    assert predicted.stdout == "1 rows in y.csv\n"
    assert predicted.stderr == "moe-apps: note: the mean of everything\n"
    assert run("export", "run", "--to", "out").stdout == "SavedModel in out/toy/5\n"
    again = run("export", "run", "--to", "out", "--version", "2", "--json").stdout
    assert json.loads(again) == {"saved_model": "out/toy/2"}


def test_the_backend_cannot_change_in_a_running_process() -> None:
    message = error("train", "toy", "--set", "train.backend=jax")
    assert message.startswith("train.backend=jax: ")
    assert "KERAS_BACKEND=jax" in message


def test_a_run_of_another_backend_is_exported_in_a_child(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api, "_loaded_backend", lambda: "jax")
    with pytest.raises(RunError, match="nowhere: could not be exported on TensorFlow"):
        api._on_tensorflow(api._export, "nowhere", "out", "1")
    assert "nowhere: no such run folder" in capfd.readouterr().err


def test_ui_starts_the_page_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Page:
        def __init__(self, command: list[str], start_new_session: bool) -> None:
            started.append(command)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr("subprocess.Popen", Page)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    run("ui", "--port", "5999")
    assert started[0][1:5] == ["-m", "mlflow", "ui", "--backend-store-uri"]
    assert started[0][5] == "sqlite:///runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example.org")
    assert run("ui").stdout == "The runs are on https://tracking.example.org\n"
    assert len(started) == 1


def test_list_shows_systems_and_papers() -> None:
    assert "mean: Mean. Nobody, 2024 https://example.org" in run("list").stdout
    listed = json.loads(run("list", "--json").stdout)["domains"]
    toy = next(row for row in listed if row["name"] == "toy")
    assert toy["systems"][0]["paper"] == "Nobody, 2024"


def test_help_version_and_usage() -> None:
    assert run("--version").stdout == f"{__version__}\n"
    commands = ("list", "inspect", "train", "evaluate", "predict", "export", "ui", "doctor")
    assert all(command in run("--help").stdout for command in commands)
    usage = run("train", "toy", "--epochs", "3", code=2)
    assert "No such option" in usage.stderr
    assert "Traceback" not in usage.stderr


def test_list_layers_shows_every_router_with_its_paper() -> None:
    from moe_apps.registry import ROUTERS

    listed = json.loads(run("list", "--layers", "--json").stdout)["layers"]
    assert set(ROUTERS.names()) <= {row["name"] for row in listed}
    found = next(row for row in listed if row["name"] == "top_k")
    assert found["class"] == "TopK" and "1701.06538" in found["paper"] and found["causal"] is True
    assert "top_k" in run("list", "--layers").stdout
