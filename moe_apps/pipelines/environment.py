"""Versions and hardware that a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from moe_apps import __version__

PACKAGES = ("keras", "tensorflow", "jax", "numpy", "pandas", "mlflow")


def describe_environment() -> dict[str, str]:
    """Return versions, processor, memory and devices, by name, for people to read.

    Example:
        >>> describe_environment()["Keras backend"] in ("tensorflow", "jax")
        True
    """
    import keras
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    return {
        "moe-apps": __version__,
        "Python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
        "Keras backend": keras.backend.backend(),
        "Devices": ", ".join(keras.distribution.list_devices()),
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{memory:.0f} GiB",
        "System": platform.platform(),
    }


def full_environment() -> dict[str, Any]:
    """Return what a run can be made again with.

    Returns:
        `environment` as above, `git` (see `git_state`; `None` outside of any repository) and
        `packages`, the version of every installed one by name.

    Example:
        >>> "numpy" in full_environment()["packages"]
        True
    """
    found = {one.name.lower(): one.version for one in distributions() if one.name}
    return {
        "environment": describe_environment(),
        "git": git_state(Path(__file__).parent) or git_state(Path.cwd()),
        "packages": dict(sorted(found.items())),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the `commit` of the repository that a folder is in, and whether files are `changed`.

    `None` where there is no repository, no commit or no git.

    Example:
        >>> git_state(Path("/proc")) is None
        True
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
