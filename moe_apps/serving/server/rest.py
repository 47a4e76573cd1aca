"""TensorFlow Serving's REST interface, as a FastAPI application."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request, Response
from google.protobuf.json_format import MessageToDict
from starlette.requests import ClientDisconnect

from moe_apps.serving.server import json_tensors
from moe_apps.serving.server.batching import Batching
from moe_apps.serving.server.inference import (
    Asked,
    classes_of,
    classification,
    examples_tensor,
    regression,
    start,
    values_of,
)
from moe_apps.serving.server.loaded_model import LoadedModel
from moe_apps.serving.server.messages import metadata_message, status_message
from moe_apps.serving.server.metrics import METRICS_PATH, Metrics
from moe_apps.serving.server.models import Models
from moe_apps.serving.server.settings import ServerSettings
from moe_apps.serving.server.signature import DEFAULT
from moe_apps.serving.server.status import Code, StatusError, invalid

_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(
    rf"(?i:/v1/models)/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)"
)
_ABOUT = re.compile(rf"(?i:/v1/models)(?:/(?P<name>[^/:]+))?{_WHICH}(?P<metadata>/metadata)?")
_SMALL = 64 * 1024  # bytes that are parsed without leaving the event loop
_DRAINED = 256 * 2**20  # bytes of a body too large that are read, so that the answer gets through
_LARGEST_VERSION = 2**63 - 1


def rest_app(
    settings: ServerSettings, models: Models, batching: Batching, metrics: Metrics
) -> FastAPI:
    """Return the application; what it serves is the caller's to start and stop."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    handler = _Handler(settings, models, batching, metrics)
    app.add_api_route("/v1/{rest:path}", handler.answer, methods=["GET", "POST"])

    @app.get(METRICS_PATH)
    def page() -> Response:
        return Response(metrics.page(), media_type="text/plain; version=0.0.4")

    return app


class _Handler:
    def __init__(
        self, settings: ServerSettings, models: Models, batching: Batching, metrics: Metrics
    ) -> None:
        self._settings, self._models = settings, models
        self._batching, self._metrics = batching, metrics

    async def answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        pattern = _CALL if request.method == "POST" else _ABOUT
        try:
            found = pattern.fullmatch(path)
            if found is None:
                raise invalid(f"Malformed request: {request.method} {path}")
            asked = _asked(found)
            if request.method == "POST":
                method = found["method"].lower()
                with self._metrics.request(asked.name, method, "rest"):
                    body = await self._body(request)
                    content = await self._call(asked, method, body)
            else:
                method = "metadata" if found["metadata"] else "status"
                with self._metrics.request(asked.name, method, "rest"):
                    content = self._about(asked, bool(found["metadata"]))
        except _BodyError as error:
            return _error(error.status, error.message, close=True)
        except StatusError as error:
            return _error(error.http_status, error.message)
        except ClientDisconnect:
            return Response(status_code=499)
        return Response(content, media_type="application/json")

    async def _call(self, asked: Asked, method: str, body: bytes) -> bytes:
        model = self._models.get(asked.name, asked.version, asked.label)
        try:
            if len(body) <= _SMALL:
                waiting, finish = self._start(model, method, body)
            else:
                waiting, finish = await asyncio.to_thread(self._start, model, method, body)
            try:
                # The queue keeps to the time-out too; this is for a run that cannot be ended.
                answer = await asyncio.wait_for(
                    asyncio.wrap_future(waiting), self._settings.timeout + 1
                )
            except TimeoutError:
                raise StatusError(Code.DEADLINE_EXCEEDED, "the run took too long") from None
            if sum(array.size for array in answer.values()) * 8 <= _SMALL:
                return finish(answer)
            return await asyncio.to_thread(finish, answer)
        finally:
            model.release()

    def _start(self, model: LoadedModel, method: str, body: bytes) -> Any:
        """Queue what the body asks for; return that, and what makes a body of the answer."""
        content = json_tensors.parse_object(body)
        name = json_tensors.signature_name(content)
        timeout = self._settings.timeout
        if method == "predict":
            signature = model.signatures.get(name or DEFAULT)
            if signature is None:
                raise invalid(
                    f'Serving signature name: "{name or DEFAULT}" not found in signature def'
                )
            inputs, by_rows = json_tensors.predict_inputs(content, signature)
            waiting = start(self._batching, model, signature, inputs, timeout)
            return waiting, lambda answer: json_tensors.predict_body(answer, by_rows)
        find = classification if method == "classify" else regression
        signature = find(model, name)
        examples = json_tensors.examples(content, method)
        waiting = start(self._batching, model, signature, examples_tensor(examples), timeout)
        read = self._classes if method == "classify" else values_of
        return waiting, lambda answer: json_tensors.results_body(read(answer, len(examples)))

    @staticmethod
    def _classes(answer: Any, count: int) -> list[Any]:
        return [
            [[label.decode("utf-8", "replace"), score] for label, score in row]
            for row in classes_of(answer, count)
        ]

    def _about(self, asked: Asked, metadata: bool) -> bytes:
        if not asked.name:
            raise invalid("Missing model name in request.")
        if not metadata:
            states = self._models.states(asked.name, asked.version, asked.label)
            return _json(status_message(states))
        model = self._models.get(asked.name, asked.version, asked.label)
        try:
            response, signatures = metadata_message(model)
        finally:
            model.release()
        spec = MessageToDict(response.model_spec, preserving_proto_field_name=True)
        definitions = MessageToDict(
            signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return json_tensors.plain_body(
            {"model_spec": spec, "metadata": {"signature_def": definitions}}
        )

    async def _body(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.timeout):
                async for part in request.stream():
                    size += len(part)
                    if size <= limit:
                        parts.append(part)
                    else:
                        parts.clear()
                        if size > limit + _DRAINED:
                            break
        except TimeoutError:
            why = "the body of the request did not arrive in time"
            raise _BodyError(Code.DEADLINE_EXCEEDED, 408, why) from None
        if size > limit:
            why = f"the body of the request is larger than {limit} bytes"
            raise _BodyError(Code.RESOURCE_EXHAUSTED, 413, why)
        return b"".join(parts)


class _BodyError(StatusError):
    """A body that is not read whole, for which HTTP has statuses of its own."""

    def __init__(self, code: Code, status: int, message: str) -> None:
        super().__init__(code, message)
        self.status = status


def _asked(found: re.Match[str]) -> Asked:
    version = None
    if found["version"]:
        version = int(found["version"]) if len(found["version"]) < 20 else _LARGEST_VERSION + 1
        if version > _LARGEST_VERSION:
            raise invalid(f"Failed to convert version: {found['version']} to numeric.")
    return Asked(unquote(found["name"] or ""), version, unquote(found["label"] or ""))


def _json(message: Any) -> bytes:
    return json_tensors.plain_body(
        MessageToDict(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
    )


def _error(status: int, message: str, close: bool = False) -> Response:
    return Response(
        json_tensors.error_body(message),
        status,
        {"connection": "close"} if close else None,
        "application/json",
    )
