"""What stands in a folder of exported models, as far as a deployment has to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_apps.errors import RunError
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.serving.export import CARD
from moe_apps.serving.version_folders import versions


@dataclass(frozen=True)
class ServedModel:
    """A model in the folder.

    Attributes:
        name: of the model.
        versions: its two newest versions, ascending.
        bytes: size of the newest.
        unbatched: signatures of the newest that TensorFlow Serving cannot batch, and why.
    """

    name: str
    versions: tuple[int, ...]
    bytes: int
    unbatched: Mapping[str, str]

    @property
    def labels(self) -> dict[str, int]:
        """The newest version is the canary if there is one before it, which is stable."""
        labels = {"stable": self.versions[0]}
        return labels if len(self.versions) == 1 else {**labels, "canary": self.versions[1]}


def served_models(folder: Path) -> list[ServedModel]:
    """Return the models that `moe-apps export` has written to a folder.

    Raises:
        RunError: there is none, or one has no card.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
        found = [_model(entry) for entry in entries if versions(entry)]
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror}") from None
    if not found:
        raise RunError(f"{folder}: has no model; write one by moe-apps export RUN --to {folder}")
    return found


def _model(base: Path) -> ServedModel:
    numbers = versions(base)[-2:]
    newest = base / str(numbers[-1])
    signatures = read_json(newest / CARD)["signatures"]
    unbatched = {
        name: reason for name, about in signatures.items() if (reason := _not_by_rows(about))
    }
    size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    return ServedModel(base.name, tuple(numbers), size, unbatched)


def _not_by_rows(signature: Mapping[str, Any]) -> str:
    """Why requests of a signature cannot be put together; empty if they can."""
    for kind in ("inputs", "outputs"):
        for name, spec in signature[kind].items():
            if not spec["shape"]:
                return f"{kind[:-1]} {name} is a scalar"
            if spec["shape"][0] is not None:
                return f"{kind[:-1]} {name} has a first axis of fixed size"
    return ""
