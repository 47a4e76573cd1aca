"""What a server counts, on a page for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily

from moe_apps.serving.server.models import Models
from moe_apps.serving.server.status import StatusError

# The path that TensorFlow Serving's monitoring is usually set to.
METRICS_PATH = "/monitoring/prometheus/metrics"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Requests by model, call, protocol and code; their time; rows of a run; versions served.

    Args:
        models: the models of the server, whose names are the only ones that become labels.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        labels = ("model_name", "method", "protocol")
        self._requests = Counter(
            "moe_apps_serving_requests", "Requests answered.", (*labels, "code"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "moe_apps_serving_request_seconds", "From request to answer.", labels,
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._rows = Histogram(
            "moe_apps_serving_run_rows", "Rows of a run of a model (0: not of rows).",
            buckets=_COUNTS, registry=self.registry,
        )  # fmt: skip
        self._together = Histogram(
            "moe_apps_serving_run_requests", "Requests that shared a run of a model.",
            buckets=_COUNTS, registry=self.registry,
        )  # fmt: skip
        self._under_way = Gauge(
            "moe_apps_serving_requests_under_way", "Requests not answered yet.",
            registry=self.registry,
        )  # fmt: skip

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is read when the page is asked for."""
        family = GaugeMetricFamily(
            "moe_apps_serving_version_available", "Versions that answer.",
            labels=("model_name", "version"),
        )  # fmt: skip
        for name, numbers in self._models.served().items():
            for number in numbers:
                family.add_metric((name, str(number)), 1)
        yield family

    @contextmanager
    def request(self, model: str, method: str, protocol: str) -> Iterator[None]:
        """Count and time what is done inside; an error goes on."""
        # Names that callers invent would fill the memory.
        labels = (model if model in self._models.served() else "", method, protocol)
        code, began = "OK", perf_counter()
        self._under_way.inc()
        try:
            yield
        except StatusError as error:
            code = error.code.name
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            self._under_way.dec()
            self._requests.labels(*labels, code).inc()
            self._seconds.labels(*labels).observe(perf_counter() - began)

    def run(self, rows: int, requests: int) -> None:
        """Count one run of a model."""
        self._rows.observe(rows)
        self._together.observe(requests)

    def page(self) -> bytes:
        """Return the page."""
        return generate_latest(self.registry)
