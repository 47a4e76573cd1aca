"""Picks the protocol for an address, and what both protocols' errors have in common."""

from __future__ import annotations

from moe_apps.errors import ConfigError, UserError
from moe_apps.serving.client.described import Connection

RETRIES = 5  # of calls that a server was too busy for
TIMEOUT = 30.0


class CallError(UserError):
    """A call that a server refused or never answered; the message has its words.

    Args:
        message: for people.
        code: HTTP status, or name of the gRPC code; empty when there was no answer.
    """

    def __init__(self, message: str, code: int | str = "") -> None:
        super().__init__(message)
        self.code = code


def connect(url: str, *, retries: int = RETRIES, timeout: float = TIMEOUT) -> Connection:
    """Return a client for a server's address.

    Calls that are answered by 429 or 503 (gRPC: RESOURCE_EXHAUSTED, UNAVAILABLE), or by nobody,
    are repeated after a pause that grows.

    Args:
        url: `http://host:port` or `https://host:port` for REST, `grpc://host:port` for gRPC.
        retries: how often a call is repeated at most.
        timeout: seconds in which a call is answered.

    Raises:
        ConfigError: the address has another form.

    Example:
        >>> from moe_apps.serving.client.described import Which
        >>> client = connect("http://127.0.0.1:8501")
        >>> history = [[1.0, 2.0, 3.0]]
        >>> client.predict(Which("forecasting"), {"history": history, "horizon": 2})
        ... # doctest: +SKIP
        {'forecast': array([[4.0, 5.0]], dtype=float32)}
    """
    scheme, mark, rest = url.partition("://")
    if mark and rest and scheme in ("http", "https"):
        from moe_apps.serving.client.rest import RestConnection

        return RestConnection(url.rstrip("/"), retries, timeout)
    if mark and rest and scheme == "grpc":
        from moe_apps.serving.client.grpc import GrpcConnection

        return GrpcConnection(rest.rstrip("/"), retries, timeout)
    raise ConfigError(f"{url}: expected http://HOST:PORT, https://HOST:PORT or grpc://HOST:PORT")
