"""Which models a server has, and which versions of them: TensorFlow Serving's models.config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moe_apps.errors import ConfigError
from moe_apps.serving.server.status import invalid
from moe_apps.serving.version_folders import versions

# Where the images of TensorFlow Serving have their models.
IMAGE_BASE = Path("/models")


@dataclass(frozen=True)
class Source:
    """A model and its versions on disk.

    Attributes:
        name: of the model.
        base: folder with one folder a version, named by its number.
        newest: how many of the newest versions are served; 0: all.
        specific: the versions that are served; if any are named, `newest` counts for nothing.
        labels: names of versions.
    """

    name: str
    base: Path
    newest: int = 1
    specific: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    def wanted(self, numbers: list[int]) -> list[int]:
        """Return those of the versions on disk that are to be served, ascending."""
        if self.specific:
            return [number for number in numbers if number in self.specific]
        return sorted(numbers)[-self.newest :] if self.newest else sorted(numbers)


def found_in(folder: Path) -> list[Source]:
    """Return a source for each folder in `folder` that has versions of a model.

    Raises:
        ConfigError: the folder cannot be read.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
        return [Source(entry.name, entry) for entry in entries if versions(entry)]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None


def read_config(path: Path, folder: Path) -> list[Source]:
    """Return what a models.config file (text format) names; see `from_message`.

    Raises:
        ConfigError: the file cannot be read or is none.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    from moe_apps.serving.server.status import StatusError

    try:
        message = text_format.Parse(path.read_text(encoding="utf-8"), ModelServerConfig())
        return from_message(message, folder)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, text_format.ParseError, StatusError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None


def from_message(message: Any, folder: Path) -> list[Source]:
    """Return the sources that a `ModelServerConfig` message names.

    Only models below `folder` are served, whatever a caller may name: a SavedModel can read any
    file. A base path below /models, as in the images of TensorFlow Serving, is looked up there.

    Raises:
        StatusError: INVALID_ARGUMENT, for what the message has that cannot be.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise invalid("Expected ModelServerConfig with a model_config_list")
    sources = [_source(config, folder) for config in message.model_config_list.config]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"Illegal to list model {name} multiple times in config list")
    return sources


def _source(config: Any, folder: Path) -> Source:
    if not config.name:
        raise invalid("A model without a name")
    if config.model_platform not in ("", "tensorflow"):
        raise invalid(f"model {config.name}: platform {config.model_platform!r} is not tensorflow")
    given = Path(config.base_path)
    if given.is_relative_to(IMAGE_BASE):
        given = folder / given.relative_to(IMAGE_BASE)
    base = given.resolve()
    if not base.is_relative_to(folder.resolve()):
        raise invalid(f"model {config.name}: base path {config.base_path} is not below {folder}")
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    newest = {"all": 0, "latest": max(policy.latest.num_versions, 1)}.get(kind, 1)
    specific = frozenset(policy.specific.versions)
    if kind == "specific" and not specific:
        raise invalid(f"model {config.name}: the policy `specific` names no version")
    return Source(config.name, base, newest, specific, dict(config.version_labels))
