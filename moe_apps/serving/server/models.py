"""The models of a server: finds new versions, loads them, and lets go of old ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_apps.errors import RunError
from moe_apps.pipelines.atomic_files import read_json
from moe_apps.serving.export import CARD
from moe_apps.serving.server.loaded_model import LoadedModel
from moe_apps.serving.server.sources import Source
from moe_apps.serving.server.status import Code, StatusError
from moe_apps.serving.version_folders import difference, versions

LOG = logging.getLogger("moe_apps.serving")
START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50  # as in ModelVersionStatus


@dataclass
class Version:
    """A version and what became of it.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        code: why it ended; OK if nothing was wrong.
        message: the same in words.
        model: what answers, while it is AVAILABLE.
        seen: what its folder looked like when last looked at.
        tried: what it looked like when loading failed.
    """

    state: int = START
    code: Code = Code.OK
    message: str = ""
    model: LoadedModel | None = None
    seen: Any = None
    tried: Any = None


class Models:
    """Models by name, of which `refresh` brings what is served in line with what is on disk.

    A version is loaded when its folder is as the card of its export says or, without a card, has
    stayed the same from one look to the next; the version before it answers until then, and after
    a failure.

    Args:
        sources: the models, or a function that finds them anew each time.
        interval: seconds between two looks.
    """

    def __init__(
        self, sources: Sequence[Source] | Callable[[], Sequence[Source]], interval: float = 1.0
    ) -> None:
        self._find = sources if callable(sources) else lambda: sources
        self._interval = interval
        self._lock = threading.Lock()  # for what requests read
        self._refreshing = threading.Lock()
        self._sources: dict[str, Source] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._problems: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Load what is there, then keep looking."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, and let go of all models."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._refreshing:
            for name in list(self._versions):
                self._drop(name)

    def get(self, name: str, version: int | None = None, label: str = "") -> LoadedModel:
        """Return a model, held for the caller, who must `release` it.

        Args:
            name: of the model.
            version: its number; by default the newest that is served.
            label: name of a version, instead of its number.

        Raises:
            StatusError: there is none.
        """
        with self._lock:
            if label:
                labels = self._sources[name].labels if name in self._sources else {}
                if label not in labels:
                    raise StatusError(
                        Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
                    )
                version = labels[label]
            served = {
                number: one.model
                for number, one in self._versions.get(name, {}).items()
                if one.state == AVAILABLE and one.model is not None
            }
            number = max(served, default=None) if version is None else version
            if number not in served:
                asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
            return served[number].hold()

    def states(
        self, name: str, version: int | None = None, label: str = ""
    ) -> dict[int, tuple[int, Code, str]]:
        """Return state, code and message of a model's versions by number.

        Raises:
            StatusError: NOT_FOUND, when nothing is known of them.
        """
        with self._lock:
            if label and name in self._sources:
                if label not in self._sources[name].labels:
                    raise StatusError(
                        Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
                    )
                version = self._sources[name].labels[label]
            known = self._versions.get(name, {})
            if version is not None and version not in known:
                raise StatusError(
                    Code.NOT_FOUND, f"Could not find version {version} of model {name}"
                )
            if not known:
                raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return {
                number: (one.state, one.code, one.message)
                for number, one in sorted(known.items(), reverse=True)
                if version in (None, number)
            }

    def served(self) -> dict[str, list[int]]:
        """Return the versions that answer, by model."""
        with self._lock:
            return {
                name: sorted(n for n, one in known.items() if one.state == AVAILABLE)
                for name, known in self._versions.items()
            }

    def replace(self, sources: Sequence[Source]) -> None:
        """Serve these models from now on, and no others; returns when they are loaded."""
        self._find = lambda: sources
        self.refresh()
        if self._unsettled():
            # Without a card, files that are alike at two looks are taken for whole.
            self._stop.wait(self._interval)
            self.refresh()

    def refresh(self) -> None:
        """Look at the disk once; load, and let go."""
        with self._refreshing:
            try:
                sources = {source.name: source for source in self._find()}
            except Exception as error:
                self._complain("", f"models cannot be looked up: {_first_line(error)}")
                return
            self._problems.pop("", None)
            with self._lock:
                self._sources = sources
            for name in self._versions.keys() - sources.keys():
                self._drop(name)
            for source in sources.values():
                self._bring_in_line(source)

    def _unsettled(self) -> bool:
        """Whether a version was seen, and neither loaded nor given up."""
        with self._lock:
            found = [one for known in self._versions.values() for one in known.values()]
        return any(
            one.state != AVAILABLE and one.seen is not None and one.seen != one.tried
            for one in found
        )

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.refresh()
            except Exception:  # one bad look must not be the last
                LOG.exception("looking for versions failed")

    def _bring_in_line(self, source: Source) -> None:
        try:
            numbers = versions(source.base)
        except OSError as error:
            self._complain(source.name, f"{source.base}: cannot be read: {error.strerror}")
            return
        wanted = source.wanted(numbers)
        for number in wanted:
            self._try(source, number)
        if not self._available(source.name):
            # Rather an older version than none.
            for number in reversed(numbers):
                if source.wanted([number]) and self._try(source, number):
                    wanted = [number]
                    break
        kept = {n for n in self._available(source.name) if n in wanted}
        if kept:
            waiting = len(wanted) - len(kept)
            for number in sorted(self._available(source.name) - kept)[: -waiting or None]:
                self._unload(source.name, number)

    def _available(self, name: str) -> set[int]:
        return {n for n, one in self._versions.get(name, {}).items() if one.state == AVAILABLE}

    def _try(self, source: Source, number: int) -> bool:
        """Load a version if it is ready; return whether it answers now."""
        with self._lock:
            known = self._versions.setdefault(source.name, {})
            version = known.setdefault(number, Version())
        if version.state == AVAILABLE:
            return True
        folder = source.base / str(number)
        look = _look(folder)
        before, version.seen = version.seen, look
        if look == version.tried:
            return False
        if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            if before == look:
                version.tried = look
                self._failed(source.name, number, Code.NOT_FOUND, "it has no saved_model.pb")
            return False
        try:
            reason = _unlike_its_card(folder)
        except (OSError, RunError) as error:
            reason = _first_line(error)
        if reason is None or before == look or _is_old(look, self._interval):
            self._load(source, number, folder, reason or "")
            if version.state != AVAILABLE:
                version.tried = look
        return version.state == AVAILABLE

    def _load(self, source: Source, number: int, folder: Path, reason: str) -> None:
        version = self._versions[source.name][number]
        version.state, version.code, version.message = LOADING, Code.OK, ""
        began = time.monotonic()
        try:
            if reason:
                raise StatusError(Code.DATA_LOSS, reason)
            model = LoadedModel(source.name, number, folder)
        except StatusError as error:
            self._failed(source.name, number, error.code, error.message)
            return
        with self._lock:
            version.model, version.state = model, AVAILABLE
        seconds = time.monotonic() - began
        LOG.info("model %s: version %d is served (%.1f s)", source.name, number, seconds)

    def _failed(self, name: str, number: int, code: Code, message: str) -> None:
        version = self._versions[name][number]
        with self._lock:
            version.state, version.code, version.message = END, code, message
        served = ", ".join(map(str, sorted(self._available(name)))) or "none"
        LOG.error(
            "model %s: version %d cannot be served: %s; served: %s", name, number, message, served
        )

    def _unload(self, name: str, number: int) -> None:
        version = self._versions[name][number]
        with self._lock:
            model, version.model, version.state = version.model, None, UNLOADING
        if model is not None:
            model.release()
        version.state = END
        version.seen = None
        LOG.info("model %s: version %d is no longer served", name, number)

    def _drop(self, name: str) -> None:
        for number in self._available(name):
            self._unload(name, number)
        with self._lock:
            del self._versions[name]

    def _complain(self, name: str, problem: str) -> None:
        if self._problems.get(name) != problem:  # once, not at every look
            self._problems[name] = problem
            LOG.error("%s", problem)


def _look(folder: Path) -> Any:
    """Names, sizes and times of a folder's files; they change while it is copied."""
    try:
        files = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    except OSError:  # a file went away meanwhile
        return None
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in files)


def _is_old(look: Any, seconds: float) -> bool:
    newest = max((time_ns for _, _, time_ns in look or ()), default=0)
    return time.time() - newest / 1e9 > max(10 * seconds, 10)


def _unlike_its_card(folder: Path) -> str | None:
    """How the files differ from those that were exported; `None` if they do not.

    A SavedModel of another origin has no card: then nothing is known of it until it settles.
    """
    if not (folder / CARD).is_file():
        return ""
    return difference(folder, read_json(folder / CARD).get("files", {}))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
