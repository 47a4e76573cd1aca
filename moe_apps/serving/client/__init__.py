"""Clients of TensorFlow Serving's two protocols: of the local server as of the real one."""

from __future__ import annotations

from moe_apps.serving.client.connection import connect

__all__ = ["connect"]
