"""Sparse Mixture-of-Experts layers for Keras 3, and domain applications built on them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    name: "moe_apps.api"
    for name in (
        "inspect",
        "train",
        "evaluate",
        "predict",
        "backtest",
        "export",
        "serve_config",
        "serve",
        "call",
        "listen",
        "demo",
        "compare",
        "sync",
        "tune",
    )
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    # Looked up on first use, so that `import moe_apps` stays light.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
