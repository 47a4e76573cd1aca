"""Starts the server with both interfaces, and stops it without losing a request."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn

from moe_apps.errors import ConfigError
from moe_apps.serving.server.batching import Batching
from moe_apps.serving.server.grpc_services import grpc_server
from moe_apps.serving.server.metrics import Metrics
from moe_apps.serving.server.models import Models
from moe_apps.serving.server.rest import rest_app
from moe_apps.serving.server.settings import ServerSettings
from moe_apps.serving.server.sources import found_in, read_config

LOG = logging.getLogger("moe_apps.serving")


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        rest: address of its REST interface.
        grpc: host and port of its gRPC interface.
        models: its models.
        batching: its queue.
    """

    rest: str
    grpc: str
    models: Models
    batching: Batching


@contextmanager
def running(settings: ServerSettings) -> Iterator[Running]:
    """Serve the models of a folder until the block ends; requests under way are answered then.

    Raises:
        ConfigError: folder, configuration or ports cannot be used.

    Example:
        >>> with running(ServerSettings(Path("served"))) as server:  # doctest: +SKIP
        ...     requests.get(f"{server.rest}/v1/models/forecasting").json()
    """
    models = _models(settings)
    metrics = Metrics(models)
    with ExitStack() as stack:
        listening = stack.enter_context(closing(_listening(settings)))
        stack.callback(models.stop)
        batching = Batching(
            threads=settings.threads,
            max_rows=settings.max_batch_rows,
            max_waiting=settings.max_waiting,
            seen=metrics.run,
        )
        stack.callback(batching.close)
        grpc = grpc_server(settings, models, batching, metrics)
        grpc_port = _grpc_port(grpc, settings)
        rest = uvicorn.Server(
            uvicorn.Config(
                rest_app(settings, models, batching, metrics),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=max(int(settings.grace), 1),
            )
        )
        thread = threading.Thread(target=rest.run, args=([listening],), name="rest")
        models.start()
        listening.listen(2048)
        try:
            grpc.start()
            thread.start()
            while not rest.started and thread.is_alive():
                time.sleep(0.005)
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            port = listening.getsockname()[1]
            yield Running(f"http://{host}:{port}", f"{host}:{grpc_port}", models, batching)
        finally:
            rest.should_exit = True
            stopped = grpc.stop(settings.grace)
            thread.join()
            stopped.wait(settings.grace + 5)


def serve(settings: ServerSettings) -> None:
    """Serve until SIGINT or SIGTERM; tells what it does through the logger `moe_apps.serving`.

    Raises:
        ConfigError: folder, configuration or ports cannot be used.

    Example:
        >>> serve(ServerSettings(Path("served")))  # doctest: +SKIP
    """
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it calls the session deprecated at every load
    logging.getLogger("uvicorn").setLevel("WARNING")
    signals: list[int] = []  # an Event has a lock, which the disturbed thread itself may hold

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with running(settings) as server:
        served = {name: numbers for name, numbers in server.models.served().items() if numbers}
        models = ", ".join(
            f"{name} (version {', '.join(map(str, numbers))})" for name, numbers in served.items()
        )
        LOG.info("serves %s", models or f"nothing yet from {settings.folder}")
        LOG.info("REST on %s, gRPC on %s; Ctrl-C ends it", server.rest, server.grpc)
        while not signals:  # a lock would not wake up for a signal that another thread was given
            time.sleep(0.1)
        LOG.info("stops: no new requests, those under way are answered")
    LOG.info("stopped")


def _models(settings: ServerSettings) -> Models:
    folder = settings.folder
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of models")
    if settings.models_config is not None:
        return Models(read_config(settings.models_config, folder), settings.poll)
    found_in(folder)
    return Models(lambda: found_in(folder), settings.poll)


def _listening(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.rest_port))
    except OSError as error:
        listening.close()
        where = f"{settings.host}:{settings.rest_port}"
        raise ConfigError(f"REST cannot listen on {where}: {error.strerror}") from None
    return listening


def _grpc_port(server: object, settings: ServerSettings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"{host}:{settings.grpc_port}"
    try:
        port: int = server.add_insecure_port(where)  # type: ignore[attr-defined]
    except RuntimeError:
        raise ConfigError(f"gRPC cannot listen on {where}") from None
    return port
