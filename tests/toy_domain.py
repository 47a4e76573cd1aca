"""A domain without a model: it fits a mean, so that the shell around domains can be tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from moe_apps.errors import DataError
from moe_apps.pipelines.config import RunConfig, Settings
from moe_apps.pipelines.domain import Domain, Served, System
from moe_apps.pipelines.run_folder import RunFolder


class ToyData(Settings):
    path: Path | None = None


class ToyTrain(Settings):
    epochs: int = Field(default=10, ge=1)
    backend: str = "tensorflow"


class ToyConfig(RunConfig):
    data: ToyData = ToyData()
    train: ToyTrain = ToyTrain()


class Toy(Domain):
    """Forecasts the mean; `path` names a file with one number a line.

    A first line that says `interrupt`, `late error` or `bug` makes training end so.
    """

    name = "toy"
    title = "Toy"
    summary = "Forecasts the mean."
    systems = (System("mean", "Mean", "Nobody, 2024", "https://example.org"),)
    config_class = ToyConfig
    quick: ClassVar = {"train": {"epochs": 1}}
    sample = "the numbers 1, 2, 3"
    headline = "mae"

    def train(self, config: ToyConfig, run: RunFolder, resume: bool) -> dict[str, Any]:
        lines = config.data.path.read_text().splitlines() if config.data.path else list("123")
        if not lines:
            raise DataError(f"{config.data.path}: is empty")
        if not resume:
            run.start(config)
        if lines[0] == "late error":
            raise DataError(f"{config.data.path}: row 2: no number")
        if lines[0] == "bug":
            raise ZeroDivisionError
        if lines[0] == "interrupt" and not resume:
            run.checkpoint.mkdir()
            (run.checkpoint / "state").write_text("half way")
            raise KeyboardInterrupt
        print("chatter that is no result")
        run.model_file.write_text("2.0")
        return run.write_metrics(
            {
                "domain": "toy",
                "system": "mean",
                "test": {"mae": 0.5, "mase": float("nan")},
                "baselines": {"repeat_last": {"mae": 0.25}, "zero": {"mae": 2.0}},
                "dense_twin": {"mae": 1.0},
                "parameters": {"total": 1000, "active": 10},
                "data": {"rows": len(lines)},
                "epochs": config.train.epochs,
                "seed": config.seed,
            }
        )

    def evaluate(self, run: RunFolder, data: Path | None) -> dict[str, Any]:
        return {**run.read_metrics(), "data": {"path": data}}

    def predict(self, run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
        output.write_text(run.model_file.read_text())
        return {"rows": 1, "output": output, "notes": ["the mean of everything"]}

    def inspect(self, path: Path) -> dict[str, Any]:
        lines = path.read_text().splitlines()
        each = [{"line": number, "text": text} for number, text in enumerate(lines, start=1)]
        return {"rows": len(lines), "units": {"length_in": "[m]"}, "each": each, "notes": ["odd"]}

    def served(self, run: RunFolder) -> Served:
        raise NotImplementedError
