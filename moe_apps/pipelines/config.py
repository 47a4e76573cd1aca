"""Settings of a run: defaults, a YAML file over them, `--set` over both; errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moe_apps.errors import ConfigError


class Settings(BaseModel):
    """A frozen group of settings that refuses names it does not know.

    Example:
        >>> class Model(Settings):
        ...     num_experts: int = 4
        >>> Model(num_experts="8").num_experts
        8
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


class RunConfig(Settings):
    """What every run has; a domain adds the sections `data`, `model`, `train`, `evaluation`.

    Attributes:
        domain: Name of the domain the run belongs to.
        seed: Seed of everything random, at least 0.
    """

    domain: str
    seed: int = Field(default=0, ge=0, lt=2**32)


Config = TypeVar("Config", bound=Settings)


def load_config(
    cls: type[Config],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    over: Mapping[str, Any] | None = None,
) -> Config:
    """Build and check a configuration.

    Later sources win: the defaults of `cls`, `base`, the YAML file, `over`, `overrides`.

    Args:
        cls: Configuration class of the domain.
        path: YAML file, read by the safe loader; `None` for no file.
        overrides: `key.of.setting=value` texts; a value is read as YAML.
        base: Nested settings below the file.
        over: Nested settings above the file, such as those of `--quick`.

    Raises:
        ConfigError: One line: which setting, where it was given, what was found and is allowed.

    Example:
        >>> load_config(RunConfig, overrides=["seed=3"], base={"domain": "forecasting"}).seed
        3
    """
    given = [_parse_override(text) for text in overrides]
    values: dict[str, Any] = {}
    for layer in (base or {}, read_yaml(path) if path else {}, over or {}, *given):
        values = _merge(values, layer)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        names_set = [name for layer in given for name in _names(layer)]
        source = f"{path}: " if path else ""
        raise ConfigError(_one_line(cls, values, error, names_set, source)) from None


def dump_config(config: RunConfig) -> str:
    """Return the configuration as complete YAML that `load_config` reads back unchanged.

    Example:
        >>> print(dump_config(RunConfig(domain="forecasting")), end="")
        domain: forecasting
        seed: 0
    """
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def setting_names(cls: type[BaseModel]) -> list[str]:
    """Return the dotted name of every setting of a class, sections first.

    Example:
        >>> setting_names(RunConfig)
        ['domain', 'seed']
    """
    names = []
    for name, field in cls.model_fields.items():
        names.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += [f"{name}.{inner}" for inner in setting_names(field.annotation)]
    return names


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Return the settings in a YAML file, read by the safe loader; an empty file has none.

    Raises `ConfigError` when the file cannot be read or has anything else than names and values.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {_fault(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected settings as `name: value`, found {_short(content)}")
    return content


def _fault(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + _flat(getattr(error, "problem", None) or error)


def _parse_override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: expected key=value, such as train.epochs=3")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: not a YAML value: {_fault(error)}") from None
    for part in reversed(parts):
        parsed = {part: parsed}
    return parsed


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merge(old, value)
        merged[name] = value
    return merged


def _names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.")


def _one_line(
    cls: type[BaseModel],
    values: Mapping[str, Any],
    error: ValidationError,
    names_set: Sequence[str],
    source: str,
) -> str:
    faults: dict[str, list[Any]] = {}
    for fault in error.errors(include_url=False, include_context=False):
        faults.setdefault(_setting(values, fault), []).append(fault)
    name, first = next(iter(faults.items()))
    where = f"--set {name}: " if name in names_set else f"{source}{name}: "
    line = where + _what(cls, name, first)
    return line if len(faults) == 1 else f"{line} (and {len(faults) - 1} more)"


def _setting(values: Any, fault: Any) -> str:
    # pydantic puts names of union members into the location; the user never wrote those.
    name = []
    for part in fault["loc"]:
        inside = isinstance(values, Mapping) and part in values
        if inside or (isinstance(values, list | tuple) and isinstance(part, int)):
            values = values[part]
            name.append(str(part))
    if fault["type"] == "missing":
        name.append(str(fault["loc"][-1]))
    return ".".join(name) or "settings"


def _what(cls: type[BaseModel], name: str, faults: Sequence[Any]) -> str:
    kind, found = faults[0]["type"], _short(faults[0]["input"])
    if kind == "extra_forbidden":
        near = get_close_matches(name, setting_names(cls), 1)
        return "no such setting" + (f"; the nearest is {near[0]}" if near else "")
    if kind == "missing":
        return "has to be given"
    if kind == "model_type":
        inner = [known for known in setting_names(cls) if known.startswith(f"{name}.")]
        return f"needs a section with settings such as {', '.join(inner[:3])}; found {found}"
    wanted = dict.fromkeys(_lower(fault["msg"]) for fault in faults)
    return f"{_flat(' or '.join(wanted))}; found {found}"


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _short(value: Any) -> str:
    text = _flat(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flat(text: object) -> str:
    return " ".join(str(text).split())
