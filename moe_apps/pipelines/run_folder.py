"""The folder of one run: the same files in every domain, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from moe_apps import __version__
from moe_apps.errors import RunError
from moe_apps.pipelines.atomic_files import read_json, write_json, write_text
from moe_apps.pipelines.config import RunConfig, dump_config, load_config

Config = TypeVar("Config", bound=RunConfig)


@dataclass
class RunFolder:
    """Where one training run keeps its files; make one by `create` or `open`.

    `create` touches nothing on disk: the folder appears with `start`, after the domain has read
    and checked its data, so that a mistake in the input leaves nothing behind.

    Attributes:
        path: The folder.
        replaces: Whether `start` may replace a run that is there already.
        started: Whether the folder on disk is this run.
        overrides: `key=value` texts that `read_config` lays over the settings on disk.
        origin: Folder of the trained run whose weights this one starts from, if there is one.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     run = RunFolder.create("forecasting", Path(folder) / "run")
        ...     run.start(RunConfig(domain="forecasting", seed=7))
        ...     RunFolder.open(run.path, trained=False).read_config(RunConfig).seed
        7
    """

    path: Path
    replaces: bool = False
    started: bool = False
    overrides: tuple[str, ...] = ()
    origin: Path | None = None

    @classmethod
    def create(cls, domain: str, output: Path | None = None, force: bool = False) -> RunFolder:
        """Return a folder for a new run.

        Args:
            domain: Name of the domain.
            output: The folder itself; by default runs/<domain>/<YYYYmmdd-HHMMSS>.
            force: Let the new run replace a run (never anything else) that is there already.

        Raises:
            RunError: The folder exists, and is not a run or may not be replaced.
        """
        if output is None:
            return cls(_unused(Path("runs", domain, datetime.now().strftime("%Y%m%d-%H%M%S"))))
        if not os.path.lexists(output):
            return cls(output)
        if not force:
            raise RunError(f"{output}: exists already; name another folder or add --force")
        if not (cls(output).details_file.is_file() or _empty_folder(output)):
            raise RunError(f"{output}: is not a run folder, so --force does not replace it")
        return cls(output, replaces=True)

    @classmethod
    def open(cls, path: Path, *, trained: bool = True) -> RunFolder:
        """Return the folder of a run that exists.

        Args:
            path: The folder.
            trained: Ask for a trained model too; false is enough to resume a run.

        Raises:
            RunError: The folder is missing or lacks a file; the message names it.
        """
        run = cls(path, started=True)
        if not path.is_dir():
            raise RunError(f"{path}: no such run folder")
        for file in (run.details_file, run.config_file):
            if not file.is_file():
                raise RunError(f"{path}: is not a run folder: {file.name} is missing")
        if trained and not run.model_file.is_file():
            status = run.read_details().get("status", "unknown")
            raise RunError(f"{path}: has no trained model yet (status: {status})")
        origin = run.read_details().get("origin")
        run.origin = None if origin is None else Path(origin)
        return run

    @property
    def config_file(self) -> Path:
        """All settings of the run, `config.yaml`; training with it repeats the run."""
        return self.path / "config.yaml"

    @property
    def details_file(self) -> Path:
        """Where the run came from, `run.json`: domain, version, MLflow ids, time, status."""
        return self.path / "run.json"

    @property
    def model_file(self) -> Path:
        """The trained model, `model.keras`."""
        return self.path / "model.keras"

    @property
    def metrics_file(self) -> Path:
        """Results beside the baselines, `metrics.json`."""
        return self.path / "metrics.json"

    @property
    def history_file(self) -> Path:
        """One row an epoch, `history.csv`."""
        return self.path / "history.csv"

    @property
    def environment_file(self) -> Path:
        """Versions, hardware and code that the run was made with, `environment.json`."""
        return self.path / "environment.json"

    @property
    def figures(self) -> Path:
        """Folder of the report's figures."""
        return self.path / "figures"

    @property
    def report_file(self) -> Path:
        """The page to look at, `report.html`."""
        return self.path / "report.html"

    @property
    def saved_model(self) -> Path:
        """Folder of exported versions, as TF Serving wants it: saved_model/<version>/."""
        return self.path / "saved_model"

    @property
    def checkpoint(self) -> Path:
        """Folder of what is needed to resume."""
        return self.path / "checkpoint"

    def start(self, config: RunConfig) -> None:
        """Make the folder on disk, in place of a run it replaces, with the run's settings in it.

        Raises `RunError` when the folder cannot be made or appeared in the meantime.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.replaces:
                old = self.path.with_name(f".{self.path.name}.replaced-{os.getpid()}")
                self.path.rename(old)
                shutil.rmtree(old)
            self.path.mkdir()
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}"
            raise RunError(f"{self.path}: cannot be made: {reason}") from None
        self.started = True
        write_text(self.config_file, dump_config(config))
        created = datetime.now().astimezone().isoformat(timespec="seconds")
        self.write_details(
            domain=config.domain, moe_apps=__version__, created=created, status="running"
        )
        if self.origin is not None:
            self.write_details(origin=str(self.origin.resolve()))

    def discard(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def read_config(self, cls: type[Config]) -> Config:
        """Return the settings of the run; raises `ConfigError` when they do not fit `cls`."""
        return load_config(cls, self.config_file, self.overrides)

    def read_details(self) -> dict[str, Any]:
        """Return what `run.json` says; raises `RunError` when it cannot be read."""
        return read_json(self.details_file)

    def write_details(self, **details: Any) -> None:
        """Add to `run.json`, keeping what else is in it."""
        old = self.read_details() if self.details_file.is_file() else {}
        write_json(self.details_file, {**old, **details})

    def read_metrics(self) -> dict[str, Any]:
        """Return the results of the run; raises `RunError` when there are none."""
        return read_json(self.metrics_file)

    def write_metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write `metrics.json` and return its content: plain numbers, `None` for NaN."""
        return write_json(self.metrics_file, metrics)


def _empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _unused(path: Path) -> Path:
    # Two runs may start within one second.
    candidate, number = path, 2
    while os.path.lexists(candidate):
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
