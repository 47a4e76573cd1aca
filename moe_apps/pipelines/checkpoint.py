"""The state of a training on disk, from which it goes on as if it had never stopped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np

from moe_apps.errors import RunError
from moe_apps.pipelines.atomic_files import read_json, write_json
from moe_apps.pipelines.optimisation import model_scope
from moe_apps.pipelines.train_settings import TrainSettings


@dataclass
class TrainingState:
    """Where a training stands after its last complete epoch.

    Attributes:
        epoch: Complete epochs.
        best: Best value of the monitored quantity, or `None` before the first epoch.
        best_epoch: The epoch that gave it, counted from 1.
        wait: Epochs since then.
        done: Whether training is over.
        seconds: Time spent, validation included.
        history: One row an epoch.
    """

    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    wait: int = 0
    done: bool = False
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Checkpoint:
    """Folder with the whole state of a training: weights, optimizer, seeds, history, best weights.

    `state.json` names the weight files that belong to it, and they are written before it: its
    replacement, which is atomic, is what makes an epoch complete.

    Args:
        folder: Made when the first epoch is saved.
        settings: Settings of the training; `restore` refuses a state made with others.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Checkpoint(Path(folder), TrainSettings()).exists
        False
    """

    def __init__(self, folder: Path, settings: TrainSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.state_file = folder / "state.json"
        # Weights (averaged ones where there are any) at the moment of an interruption.
        self.interrupted_file = folder / "interrupted.weights.h5"

    @property
    def exists(self) -> bool:
        """Whether at least one epoch is saved."""
        return self.state_file.is_file()

    def clear(self) -> None:
        """Delete what an earlier training left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_best(self, model: keras.Model, epoch: int) -> None:
        """Write the weights that `load_best` returns to; `save` with this best epoch follows."""
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(self._best_file(epoch), *model.get_weights())

    def load_best(self, model: keras.Model, epoch: int) -> None:
        """Set the weights that `save_best` wrote."""
        with np.load(self._best_file(epoch)) as weights:
            model.set_weights([weights[name] for name in weights.files])

    def save(self, model: keras.Model, state: TrainingState) -> None:
        """Write the state after a complete epoch and delete the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        variables = self._epoch_file(state.epoch)
        np.savez(variables, *map(keras.ops.convert_to_numpy, _variables(model)))
        settings = self.settings.model_dump(mode="json")
        write_json(self.state_file, {**asdict(state), "settings": settings})
        keep = {self.state_file, variables, self._best_file(state.best_epoch)}
        for old in set(self.folder.iterdir()) - keep:
            old.unlink(missing_ok=True)

    def save_interrupted(self, model: keras.Model) -> None:
        """Write the weights as they are now, which `model.load_weights` reads."""
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save_weights(self.interrupted_file)

    def restore(self, model: keras.Model) -> TrainingState:
        """Set model and optimizer as they were after the last complete epoch.

        Raises:
            RunError: The state was made with other settings, or a file of it cannot be read.
        """
        content = read_json(self.state_file)
        before, now = content.pop("settings"), self.settings.model_dump(mode="json")
        for name in now:
            if before.get(name) != now[name]:
                raise RunError(
                    f"{self.folder}: was trained with train.{name} {before.get(name)}, "
                    f"cannot be resumed with {now[name]}"
                )
        state = TrainingState(**content)
        with model_scope(model):
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            self._assign(model, self._epoch_file(state.epoch))
        return state

    def _assign(self, model: keras.Model, file: Path) -> None:
        try:
            with np.load(file) as values:
                for variable, name in zip(_variables(model), values.files, strict=True):
                    variable.assign(values[name])
        except (OSError, ValueError, BadZipFile) as error:
            raise RunError(f"{file}: does not fit this model: {error}") from error

    def _epoch_file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.npz"

    def _best_file(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.npz"


def _variables(model: keras.Model) -> list[keras.Variable]:
    # Not `save_weights`: its file lacks the state of random layers, such as dropout.
    return [*model.variables, *model.optimizer.variables]


@contextmanager
def averaged_weights(model: keras.Model, settings: TrainSettings) -> Iterator[None]:
    """Put the averaged weights into the model for a while; without any do nothing.

    The Keras callback is called by hand, as around its own evaluation: left to itself it keeps
    the averaged weights in the model after a `predict`.
    """
    # Before the first update the averages are still zero.
    if not settings.ema or keras.ops.convert_to_numpy(model.optimizer.iterations) == 0:
        yield
        return
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(model)
    swap.on_test_begin()
    try:
        yield
    finally:
        swap.on_test_end()
