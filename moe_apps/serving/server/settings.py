"""What a server can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the local server.

    Attributes:
        folder: has a folder for each model, with a folder for each version.
        models_config: TensorFlow Serving's models.config, for version policies and labels; by
            default the newest version of each model that is found, also of those that come later.
        host: address to listen on.
        rest_port: 0 takes one that is free.
        grpc_port: 0 takes one that is free.
        max_body_bytes: of a request; a larger one is refused.
        timeout: seconds in which a request is answered.
        grace: seconds that requests under way have when the server stops.
        poll: seconds between two looks for new versions.
        threads: runs of models at one time.
        max_batch_rows: rows of requests that share a run; 1: none do.
        max_waiting: requests that may wait.
    """

    folder: Path
    models_config: Path | None = None
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    max_body_bytes: int = 32 * 2**20
    timeout: float = 30.0
    grace: float = 10.0
    poll: float = 1.0
    threads: int = field(default_factory=_processors)
    max_batch_rows: int = 64
    max_waiting: int = 1000
