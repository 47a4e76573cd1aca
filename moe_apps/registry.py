"""One way to find domains and kinds of layers by name, ours and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from moe_apps.errors import ConfigError

T = TypeVar("T")
Entry = TypeVar("Entry")


class Registry(Generic[T]):
    """Things of one kind, found by name.

    A name is known when it was given to `register` (the module `home` is imported first, so that
    its decorators have run) or when an installed package offers it as an entry point of `group`.
    An entry point is imported only when it is asked for.

    Args:
        kind: What an entry is, for messages.
        group: Entry-point group in which other packages may offer entries; `None`: none is read.
        home: Module whose import registers our own entries; `None`: there is none.

    Example:
        >>> shapes = Registry("shape")
        >>> @shapes.register("square")
        ... def square(side: float) -> float:
        ...     return side * side
        >>> shapes.get("square")(3)
        9
        >>> shapes.names()
        ['square']
    """

    def __init__(self, kind: str, group: str | None = None, home: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self.home = home
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that enters what it decorates under `name`.

        Raises `ValueError` when the name is taken by something else.
        """

        def enter(entry: Any) -> Any:
            if self._entries.setdefault(name, entry) is not entry:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            return entry

        return enter

    def get(self, name: str) -> T:
        """Return the entry called `name`; raises `ConfigError` when it is unknown or broken."""
        self._import_home()
        if name not in self._entries:
            self._entries[name] = self._load(name)
        return self._entries[name]

    def names(self) -> list[str]:
        """Return all known names, sorted, without importing what entry points offer."""
        self._import_home()
        return sorted({*self._entries, *(point.name for point in self._points())})

    def _load(self, name: str) -> T:
        found = [point for point in self._points() if point.name == name]
        if not found:
            near = get_close_matches(name, self.names(), 1)
            known = ", ".join(self.names()) or "none"
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown {self.kind} {name!r}: known are {known}{hint}")
        if len(found) > 1:
            values = ", ".join(sorted(point.value for point in found))
            raise ConfigError(f"{self.kind} {name!r} is offered more than once: {values}")
        try:
            return found[0].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{self.kind} {name!r} ({found[0].value}) cannot be imported: {error}"
            ) from error

    def _points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=self.group)) if self.group else ()

    def _import_home(self) -> None:
        if self.home:
            import_module(self.home)


# Entries are typed loosely here: this module is a leaf and knows nothing of the floors above.
ROUTERS: Registry[Any] = Registry("router", "moe_apps.routers", home="moe_apps.layers")
EXPERT_BANKS: Registry[Any] = Registry(
    "expert bank", "moe_apps.expert_banks", home="moe_apps.layers"
)
LAYERS: Registry[Any] = Registry("layer", "moe_apps.layers", home="moe_apps.layers")
CALLBACKS: Registry[Any] = Registry("callback", "moe_apps.callbacks", home="moe_apps.layers")
DOMAINS: Registry[Any] = Registry("domain", "moe_apps.domains")
