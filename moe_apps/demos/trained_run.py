"""The trained run that a tab shows: one of the user's, or a small one made on first use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from moe_apps.errors import RunError
from moe_apps.pipelines.run_folder import RunFolder
from moe_apps.registry import DOMAINS

EPOCH = re.compile(r"^(?P<what>.+?) +epoch (?P<done>\d+)/(?P<all>\d+)")
FOLDER = "demo"
"""Folder inside that of the runs where small runs are kept."""

OnProgress = Callable[[float | None, str], None]
Made = TypeVar("Made")


def once_a_run(make: Callable[[RunFolder], Made]) -> Callable[[RunFolder], Made]:
    """Keep what was made of the last run, as long as its model is the same.

    Example:
        >>> @once_a_run
        ... def load(run: RunFolder) -> str:
        ...     return run.path.name
        >>> load(run)  # doctest: +SKIP
        'mine'
    """

    @lru_cache(maxsize=1)
    def kept(path: Path, changed: float) -> Made:
        return make(RunFolder.open(path))

    @wraps(make)
    def of_run(run: RunFolder) -> Made:
        return kept(run.path, run.model_file.stat().st_mtime)

    return of_run


class TrainedRun:
    """Finds a trained run of a domain, and trains a small one where there is none.

    Attributes:
        domain: Name of the domain.
        runs: Folder of runs, such as `runs`, or one run.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     TrainedRun("forecasting", Path(folder)).find() is None
        True
    """

    def __init__(self, domain: str, runs: Path) -> None:
        self.domain = domain
        self.runs = runs
        self._lock = Lock()

    @property
    def small(self) -> Path:
        """Where the small run is, or will be."""
        base = self.runs.parent if (self.runs / "run.json").is_file() else self.runs
        return base / FOLDER / self.domain

    def find(self) -> RunFolder | None:
        """The newest trained run of the domain, a user's before the small one."""
        found = []
        for file in (self.runs / "run.json", *self.runs.glob("*/run.json")):
            found.append(file.parent)
        found += [file.parent for file in self.runs.glob("*/*/run.json")]
        trained = [run for path in found if (run := self._trained(path)) is not None]
        own = [run for run in trained if run.path != self.small]
        newest = sorted(own, key=lambda run: run.model_file.stat().st_mtime)
        return newest[-1] if newest else self._trained(self.small)

    def get(self, on_progress: OnProgress = lambda share, text: None) -> RunFolder:
        """The run, trained now if it has to be; others wait for it.

        Args:
            on_progress: Called with the share done, if it is known, and a line of text.

        Raises:
            RunError: The small run could not be trained; the message is the training's last line.
        """
        with self._lock:
            found = self.find()
            if found is None:
                self._train(on_progress)
                found = RunFolder.open(self.small)
            return found

    def is_small(self, run: RunFolder) -> bool:
        """Whether a run is the one made here."""
        return run.path == self.small

    def about(self, run: RunFolder) -> str:
        """A line that says which model answers."""
        config = run.read_config(DOMAINS.get(self.domain).config_class)
        name = config.model.name
        titles = {one.name: one.title for one in DOMAINS.get(self.domain).systems}
        return about(titles.get(name, name), self.is_small(run), run.path, self.domain)

    def _trained(self, path: Path) -> RunFolder | None:
        try:
            run = RunFolder.open(path)
            return run if run.read_details().get("domain") == self.domain else None
        except RunError:
            return None

    def _train(self, on_progress: OnProgress) -> None:
        """Train in a process of its own: its memory is free afterwards, and it can be stopped."""
        on_progress(None, "a small model is trained, once: starting")
        self.small.parent.mkdir(parents=True, exist_ok=True)
        store = (self.small.parent / "mlflow.db").resolve()
        command = [sys.executable, "-m", "moe_apps", "train", self.domain, "--quick", "--force"]
        last = ""
        with subprocess.Popen(
            [*command, "--output", str(self.small)],
            env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as training:
            assert training.stderr is not None
            for line in training.stderr:
                if epoch := EPOCH.match(line):
                    share = int(epoch["done"]) / int(epoch["all"])
                    on_progress(share, f"a small model is trained, once: {epoch['what']}")
                last = line.strip() or last
        if training.returncode:
            raise RunError(f"no small model of {self.domain}: {last}")


def about(title: str, is_small: bool, path: Any, domain: str) -> str:
    """A line that says which model answers.

    Example:
        >>> about("DRSformer", False, "runs/mine", "deraining")
        'Answered by DRSformer of `runs/mine`.'
    """
    if not is_small:
        return f"Answered by {title} of `{path}`."
    return (
        f"Answered by a small {title}, trained in minutes on sample data (`{path}`): it shows "
        f"how, not how well. For your own: `moe-apps train {domain} --data ... --output "
        f"runs/mine`, then `moe-apps demo {domain} --runs runs`."
    )
