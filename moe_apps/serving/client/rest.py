"""A client of the REST interface. It needs no TensorFlow."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from moe_apps.serving.client.connection import CallError
from moe_apps.serving.client.described import Described, Signature, Which, of_metadata


class RestConnection:
    """See `connect`; calls may come from one thread at a time."""

    def __init__(self, url: str, retries: int, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        again = Retry(
            retries,
            status_forcelist=(429, 503),
            allowed_methods=None,  # a prediction changes nothing, so POST can be repeated
            backoff_factor=0.1,
            raise_on_status=False,
        )
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))
        self._signatures: dict[Which, Signature] = {}

    def signature(self, which: Which) -> Signature:
        """Return what a signature takes and gives, as the server's metadata have it."""
        if which not in self._signatures:
            about = self._call("GET", f"{_path(which)}/metadata")
            definitions = about["metadata"]["signature_def"]["signature_def"]
            self._signatures[which] = of_metadata(definitions, which)
        return self._signatures[which]

    def predict(self, which: Which, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs of a signature."""
        signature = self.signature(which)
        columns = {name: _encoded(array) for name, array in signature.arrays(inputs).items()}
        body = {"signature_name": which.signature, "inputs": columns}
        outputs = self._call("POST", f"{_path(which)}:predict", json.dumps(body))["outputs"]
        if len(signature.outputs) == 1:  # then its name is dropped
            outputs = dict.fromkeys(signature.outputs, outputs)
        return {name: _decoded(outputs[name], spec) for name, spec in signature.outputs.items()}

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def _call(self, method: str, path: str, body: str | None = None) -> Any:
        try:
            response = self._session.request(
                method, self._url + path, data=body, timeout=self._timeout
            )
        except requests.RequestException as error:
            raise CallError(f"{self._url}: no answer: {_reason(error)}") from None
        try:
            content = response.json()
        except ValueError:
            content = {"error": f"an answer that is no JSON: {response.text[:100]!r}"}
        if response.status_code != 200 or "error" in content:
            message = content.get("error", "no reason given")
            raise CallError(f"{self._url}: {response.status_code}: {message}", response.status_code)
        return content


def _path(which: Which) -> str:
    path = f"/v1/models/{quote(which.model, safe='')}"
    if which.label:
        return f"{path}/labels/{quote(which.label, safe='')}"
    return path if which.version is None else f"{path}/versions/{which.version}"


def _encoded(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    return _bytes_in(array.tolist())


def _bytes_in(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes_in(item) for item in value]
    raw = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(raw).decode()}


def _decoded(value: Any, spec: Described) -> np.ndarray:
    if spec.is_text:
        return np.array(_text_of(value), object)
    return np.array(value, spec.dtype)


def _text_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_text_of(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _reason(error: Exception) -> str:
    while getattr(error, "reason", None) or (error.args and isinstance(error.args[0], Exception)):
        error = getattr(error, "reason", None) or error.args[0]
    return str(error).splitlines()[0]
