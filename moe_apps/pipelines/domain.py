"""What a domain is: the one shape that the command line, serving and the demos work with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from moe_apps.errors import ConfigError, DataError
from moe_apps.pipelines.config import RunConfig
from moe_apps.pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    import keras
    import numpy as np

    from moe_apps.pipelines.training import OnEpoch, TrainingResult


@dataclass(frozen=True)
class System:
    """A published system that a domain offers.

    Attributes:
        name: Name in settings, such as `time_moe`.
        title: Name for people.
        paper: Authors, title and year of the source.
        url: Address of the source.
    """

    name: str
    title: str
    paper: str
    url: str


@dataclass(frozen=True)
class Classification:
    """How a signature answers TensorFlow Serving's classify call.

    Attributes:
        signature: Name of the signature; every input has a batch axis and otherwise fixed sizes.
        scores: Its output `[batch, classes]`.
        labels: Name of each class, in the order of the scores.
    """

    signature: str
    scores: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Served:
    """What a trained run answers with once it is exported.

    Attributes:
        model: The trained model, whose variables the signatures use.
        signatures: Functions of TensorFlow tensors by name, each with an `input_signature`;
            `serving_default` gives the answer, `explain` adds the routing.
        example: One valid input of `serving_default`, by input name.
        card: Facts for people: inputs, outputs, units, data, results.
        resources: Lookup tables and assets that the signatures use beside the model's variables.
        classification: What the exported signature `classify` (serialized tf.Example in, classes
            and scores out) is made from; `None`: there is none.
    """

    model: keras.Model
    signatures: Mapping[str, Callable[..., Any]]
    example: Mapping[str, np.ndarray]
    card: Mapping[str, Any] = field(default_factory=dict)
    resources: tuple[Any, ...] = ()
    classification: Classification | None = None


class Domain(ABC):
    """One application: its settings, and how it is trained, judged, used and served.

    Importing a domain must stay light (no Keras): its methods import what they need.

    Attributes:
        name: Name on the command line and of the entry point.
        title: Name for people.
        summary: One sentence on what it does.
        systems: Published systems it offers.
        config_class: Class of its settings.
        quick: Nested settings laid over the others by `--quick`.
        sample: What it trains on when no data are given.
        headline: Key of `metrics["test"]` by which model, dense twin and baselines are compared.
        higher_is_better: Whether a higher headline figure is the better one.
        monitor: Value of an epoch, on the validation part, by which `tune` judges; it has to mean
            the same for all settings.
        monitor_mode: Whether a good one is small (`min`) or large (`max`).
        search_space: What `tune` searches by default; see `tuning.space.load_space`.
        fine_tunes: Whether `train` starts from the weights of `run.origin`, where there is one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    systems: ClassVar[tuple[System, ...]]
    config_class: ClassVar[type[RunConfig]]
    quick: ClassVar[Mapping[str, Any]]
    sample: ClassVar[str]
    headline: ClassVar[str]
    higher_is_better: ClassVar[bool] = False
    monitor: ClassVar[str] = ""
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"
    search_space: ClassVar[Mapping[str, Any]] = {}
    fine_tunes: ClassVar[bool] = False

    def describe(self) -> dict[str, Any]:
        """Return name, title, summary, sample and systems, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "summary": self.summary,
            "sample": self.sample,
            "systems": [asdict(system) for system in self.systems],
        }

    @abstractmethod
    def train(self, config: Any, run: RunFolder, resume: bool) -> dict[str, Any]:
        """Train, judge and report a run; return the content of its `metrics.json`.

        The data are read and checked first; then `run.start(config)` makes the folder (unless
        `resume`). The result has the keys `domain`, `system`, `test` (metric to number),
        `baselines` (name to metrics as in `test`), `dense_twin` (metrics as in `test`),
        `routing`, `parameters` (`total`, `active`), `timing` and `data`.
        On Ctrl-C a checkpoint is left and `KeyboardInterrupt` goes on.
        """

    def train_only(self, config: Any, run: RunFolder, on_epoch: OnEpoch) -> TrainingResult:
        """Train the model alone: no baselines, no twin, no look at the test part.

        Args:
            config: The settings.
            run: A folder that is started; it gets the history and the checkpoint.
            on_epoch: Called after each epoch with its values, among them `monitor`; what it
                raises ends the training.
        """
        raise ConfigError(f"the domain {self.name} cannot be tuned")

    @abstractmethod
    def evaluate(self, run: RunFolder, data: Path | None) -> dict[str, Any]:
        """Judge a trained run by the same protocol on `data`, or on its own test part."""

    @abstractmethod
    def predict(self, run: RunFolder, input: Path, output: Path) -> dict[str, Any]:
        """Answer for the rows of `input` in their units; return `rows`, `output` and `notes`."""

    def backtest(
        self,
        run: RunFolder,
        data: Path | None,
        *,
        cutoffs: int,
        stride: int | None,
        refit: bool,
        output: Path | None,
    ) -> dict[str, Any]:
        """Forecast from past moments as if each were now; for domains that forecast series.

        Args as in `moe_apps.api.backtest`. The result has `systems`, by name a mapping of error
        to number, and `by_cutoff`, by cut-off and system the same.
        """
        raise ConfigError(f"{run.path}: the domain {self.name} has no back-test")

    def inspect(self, path: Path) -> dict[str, Any]:
        """Return what is understood of a file or folder before training, and what is not.

        Facts by name, nested as they like (a list of equal mappings is shown as a table), and
        under `notes` what was skipped, changed or looks wrong.
        """
        raise DataError(f"{path}: the domain {self.name} has no way to inspect data")

    @abstractmethod
    def served(self, run: RunFolder) -> Served:
        """Return the trained model with the signatures it is exported with."""

    def request(self, run: RunFolder, input: Path) -> dict[str, Any]:
        """Return the inputs of `serving_default` for a file, read as `predict` reads it."""
        raise ConfigError(f"{run.path}: the domain {self.name} makes no requests of files")

    def listen(
        self, run: RunFolder, file: Path | None, device: str | None, pace: float
    ) -> Iterator[dict[str, Any]]:
        """Yield answers while a stream comes in.

        Args:
            run: A trained run.
            file: Streamed in place of a device.
            device: Name or number of a device; `None` for the default one.
            pace: Times real time at which a file is streamed; 0 for as fast as possible.
        """
        raise ConfigError(f"{run.path}: the domain {self.name} does not listen")
