"""Folders of model versions, `<base>/<number>/`: appearing whole, never overwritten, checkable."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from moe_apps.errors import RunError

# A model server looks at names that are numbers only.
TEMPORARY = ".exporting-"


def publish(
    base: Path,
    version: int | None,
    write: Callable[[Path], None],
    finish: Callable[[Path, int], None],
) -> Path:
    """Let `write` fill a folder that then appears as `base`/<version>/, whole or not at all.

    Any number of processes may do so at once: each gets a version of its own, or the error that
    its version was taken. What a killed process left behind is removed by the next one.

    Args:
        base: folder of the versions, made if need be.
        version: at least 1; `None` takes one more than the highest when all is written.
        write: fills the temporary folder it is given.
        finish: adds what depends on the number, which nobody else can take any more.

    Raises:
        RunError: the version exists, is below 1, or the folder cannot be written.
    """
    if version is not None and version < 1:
        raise RunError(f"{base}: version is {version}, expected a whole number of at least 1")
    if version is not None:
        _refuse_taken(base / str(version))
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(base)
        temporary = Path(mkdtemp(prefix=TEMPORARY, dir=base))
        try:
            with _locked(temporary):
                temporary.chmod(0o755)  # a server may run as another user; mkdtemp gives 0o700
                write(temporary)
                with _locked(base):
                    number = _next(base) if version is None else version
                    folder = base / str(number)
                    _refuse_taken(folder)
                    finish(temporary, number)
                    temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RunError(f"{base}: cannot be written: {error.strerror or error}") from None
    return folder


def versions(base: Path) -> list[int]:
    """Return the versions that are there, ascending; raises `OSError` if `base` cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("2", "10", "notes", ".exporting-x"):
        ...         Path(folder, name).mkdir()
        ...     versions(Path(folder))
        [2, 10]
    """
    names = (entry.name for entry in os.scandir(base) if entry.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def difference(folder: Path, expected: Mapping[str, Any]) -> str | None:
    """Say in what way the files of `folder` are not those that `digests` once gave, if they differ.

    Files that were added since are no difference.
    """
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _sha256(path) != digest:
            return f"{name} is not what was exported ({path.stat().st_size} bytes found)"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _next(base: Path) -> int:
    return max(versions(base), default=0) + 1


def _refuse_taken(folder: Path) -> None:
    # Renaming a folder onto an empty one would replace it without a word.
    if os.path.lexists(folder):
        raise RunError(f"{folder}: exists already; versions are never overwritten")


def _remove_abandoned(base: Path) -> None:
    for entry in base.glob(f"{TEMPORARY}*"):
        with _locked(entry, wait=False) as free:
            if free:  # the kernel releases the lock of a process that died
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder; yield whether it was had."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:  # held by another, or a file system without locks
            held = False
        yield held
    finally:
        os.close(descriptor)
