"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moe_apps.errors import RunError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling that becomes `path` at the end, or vanishes on an error.

    The sibling keeps the suffix, since many writers choose the format by it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with written_whole(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("all of it")
        ...     [file.name for file in Path(folder).iterdir()]
        ['a.txt']
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: NumPy to Python, NaN and infinity to `None`.

    Example:
        >>> plain({"mse": float("nan"), "steps": (1, 2)})
        {'mse': None, 'steps': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def write_json(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write `content` after `plain`, whole or not at all, and return what was written."""
    cleaned: dict[str, Any] = plain(content)
    write_text(path, json.dumps(cleaned, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return cleaned


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises `RunError` when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path}: is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
