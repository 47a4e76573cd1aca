"""Versions and hardware that a run was made with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

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
