"""Which settings are searched, and where: from YAML or the domain's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, model_validator

from moe_apps.errors import ConfigError
from moe_apps.pipelines.config import Settings, load_config, read_yaml, setting_names
from moe_apps.pipelines.domain import Domain

if TYPE_CHECKING:
    import optuna

KIND, SPACE_FILE = "tuning", "space.yaml"
"""What a folder of a study says it is, and its file of what is searched."""

FIXED = ("train.backend", "train.strategy", "train.precision")
"""How a model is computed, which is the machine's affair."""


class Range(Settings):
    """Numbers from `low` to `high`, both included; whole ones if both ends are whole.

    Attributes:
        low: Smallest number.
        high: Largest number.
        log: Search the logarithm, for a setting whose factor counts.
        step: Distance of the numbers to try; not with `log`.

    Example:
        >>> Range(low=1, high=3).whole, Range(low=0.1, high=1).whole
        (True, False)
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"expected low < high, found {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs numbers above 0, and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step or 1))

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Return the value of a trial."""
        if self.whole:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


class Choice(Settings):
    """One of several values, which need no order.

    Attributes:
        values: What there is to choose from.

    Example:
        >>> Choice(values=(4, 8)).values
        (4, 8)
    """

    values: tuple[Any, ...] = Field(min_length=1)

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Return the value of a trial."""
        return self.kept(trial.suggest_categorical(name, [_text(value) for value in self.values]))

    def kept(self, value: Any) -> Any:
        """Return the value that Optuna keeps as `value`: it keeps a list as text."""
        return {_text(one): one for one in self.values}[value]


Space = Mapping[str, Range | Choice]


def load_space(domain: Domain, path: Path | None = None) -> Space:
    """Return what is searched.

    Args:
        domain: Its `search_space` is taken where there is no file.
        path: YAML file: a name such as `train.learning_rate`, and either a list of values or
            `low`, `high` and maybe `log` or `step`.

    Raises:
        ConfigError: The file cannot be read, a name is no setting or may not be tuned, or a range
            is none; one line.

    Example:
        >>> from moe_apps.pipelines.forecasting import DOMAIN
        >>> sorted(load_space(DOMAIN))
        ['model.num_experts', 'train.learning_rate', 'train.weight_decay']
    """
    source = str(path) if path else f"search space of {domain.name}"
    given = read_yaml(path) if path else domain.search_space
    if not given:
        raise ConfigError(f"{source}: names no setting, such as train.learning_rate")
    known = setting_names(domain.config_class)
    for name in given:
        if name not in known:
            raise ConfigError(f"{source}: {name}: no such setting")
        if any(other.startswith(f"{name}.") for other in known):
            raise ConfigError(f"{source}: {name}: is a section; write {name}.SETTING: ...")
        # Other data, another split or protocol would make trials that cannot be compared.
        if not name.startswith(("model.", "train.")) or name in FIXED:
            raise ConfigError(f"{source}: {name}: cannot be tuned; settings of model and train can")
    return {name: _dimension(f"{source}: {name}", value) for name, value in given.items()}


def dump_space(space: Space) -> str:
    """Return a space as YAML that `load_space` reads.

    Example:
        >>> print(dump_space({"model.k": Range(low=1, high=2)}), end="")
        model.k: {high: 2, low: 1}
    """
    content = {
        name: list(one.values) if isinstance(one, Choice) else one.model_dump(exclude_defaults=True)
        for name, one in space.items()
    }
    return yaml.safe_dump(content, default_flow_style=None)


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Return the settings of a trial, by dotted name."""
    return {name: one.suggest(trial, name) for name, one in space.items()}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name as sections.

    Example:
        >>> nested({"model.k": 2, "model.num_experts": 4})
        {'model': {'k': 2, 'num_experts': 4}}
    """
    sections: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        place = sections
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return sections


def _dimension(where: str, value: Any) -> Range | Choice:
    if isinstance(value, list | tuple):
        if not value:
            raise ConfigError(f"{where}: the list is empty")
        return Choice(values=tuple(value))
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a list of values, or low and high; found {value!r}")
    try:
        return load_config(Range, base=value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)
