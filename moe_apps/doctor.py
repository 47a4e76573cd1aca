"""What works here: versions, devices, XLA, extras, the tracking store, memory and disk."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from moe_apps import __version__

PACKAGES = ("keras", "tensorflow", "jax", "numpy", "pandas", "scikit-learn", "mlflow")


def examine() -> dict[str, Any]:
    """Return what was found, ready for JSON.

    Returns:
        `versions` (package to version, `None` if missing), `devices` (list of names), `checks`
        (name to `ok` and `detail`), `extras` (name to the packages that are missing), `memory`
        and `disk` (`free` and `total`, in GiB).

    Example:
        >>> from moe_apps.doctor import examine
        >>> examine()["checks"]["xla"]["ok"]  # doctest: +SKIP
        True
    """
    import psutil

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    return {
        "versions": {
            "moe-apps": __version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "devices": _devices(),
        "checks": {
            "xla": _check(_compile_with_xla),
            "tracking store": _check(_reach_tracking_store),
        },
        "extras": missing_by_extra(),
        "memory": {"free": _gib(memory.available), "total": _gib(memory.total)},
        "disk": {"free": _gib(disk.free), "total": _gib(disk.total)},
    }


def missing_by_extra(distribution: str = "moe-apps") -> dict[str, list[str]]:
    """Return for each extra of a distribution which of its packages are missing or unfit.

    Example:
        >>> missing_by_extra()["jax"]  # doctest: +SKIP
        ['jax<0.11,>=0.7']
    """
    extras = metadata.metadata(distribution).get_all("Provides-Extra") or ()
    return {extra: sorted(_missing(distribution, extra)) for extra in extras}


def _missing(distribution: str, extra: str) -> set[str]:
    from packaging.requirements import Requirement

    missing: set[str] = set()
    for need in map(Requirement, metadata.requires(distribution) or ()):
        marker = need.marker
        if not marker or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        version = _version(need.name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            missing.add(f"{need.name}{need.specifier}")
        else:
            missing.update(*(_missing(need.name, inner) for inner in need.extras))
    return missing


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import tensorflow as tf

    found = tf.config.list_physical_devices()
    devices = [device.name.removeprefix("/physical_device:") for device in found]
    return [*devices, f"{os.cpu_count()} processor cores"]


def _check(step: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"ok": True, "detail": step()}
    except Exception as error:  # whatever goes wrong is the finding
        detail = " ".join(str(error).split()) or type(error).__name__
        return {"ok": False, "detail": detail[:300]}


def _compile_with_xla() -> str:
    import numpy as np
    import tensorflow as tf

    values = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)
    compiled = tf.function(lambda x: tf.nn.softmax(x @ tf.transpose(x)), jit_compile=True)
    logits = values @ values.T
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    error = float(np.abs(compiled(tf.constant(values)).numpy() - expected).max())
    if error > 1e-5:
        raise ArithmeticError(f"the compiled function is off by {error:.1e}")
    return f"a compiled function agrees with NumPy to {error:.0e}"


def _reach_tracking_store() -> str:
    from moe_apps.pipelines.tracking import tracking_uri

    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{uri} is not there, and {folder} is not writable")
        return f"{uri} (made by the first run)"
    # Answer soon instead of trying for minutes; mlflow reads these when it is imported.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from mlflow import MlflowClient

    found = MlflowClient(uri).search_experiments()
    return f"{uri} ({len(found)} experiments)"


def _gib(number: float) -> float:
    return round(number / 2**30, 1)
