"""What must hold of every domain's model once it is served, asked by clients that are not ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from moe_apps.serving.server.run import Running

Arrays = dict[str, np.ndarray]


def by_rest(server: Running, name: str, inputs: Mapping[str, Any], signature: str) -> Arrays:
    columns = {key: _json(np.asarray(array)) for key, array in inputs.items()}
    url = f"{server.rest}/v1/models/{name}"
    body = json.dumps({"signature_name": signature, "inputs": columns})  # with NaN as it is
    response = requests.post(f"{url}:predict", data=body, timeout=60)
    assert response.status_code == 200, response.text
    about = requests.get(f"{url}/metadata", timeout=60).json()["metadata"]["signature_def"]
    names = about["signature_def"][signature]["outputs"]
    outputs = response.json()["outputs"]
    if len(names) == 1:
        outputs = dict.fromkeys(names, outputs)
    return {key: np.array(value) for key, value in outputs.items()}


def by_grpc(server: Running, name: str, inputs: Mapping[str, Any], signature: str) -> Arrays:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, array in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, 60).outputs
    return {key: tf.make_ndarray(value) for key, value in outputs.items()}


def same(answer: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float) -> None:
    """Equal names, and values within `tolerance`, of the largest where it is more than 1."""
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        values = np.asarray(value)
        if values.dtype.kind == "f":
            largest = max(np.abs(values[np.isfinite(values)]).max(initial=0), 1)
            np.testing.assert_allclose(
                answer[name], values, rtol=0, atol=tolerance * largest, err_msg=name
            )
        else:
            assert _texts(answer[name]) == _texts(values), name


def _texts(values: Any) -> Any:
    """As lists; JSON says as text what gRPC says as bytes."""
    flat = [v.decode() if isinstance(v, bytes) else v for v in np.asarray(values).ravel().tolist()]
    return np.reshape(flat, np.shape(values)).tolist()


def check_answers(server: Running, name: str, version: Path, inputs: Mapping[str, Any]) -> None:
    """Both protocols give what the SavedModel gives in process, for all signatures of `inputs`."""
    model = tf.saved_model.load(version)
    checked = 0
    for signature, function in model.signatures.items():
        specs = function.structured_input_signature[1]
        if not specs.keys() <= inputs.keys() or signature == "rank":
            continue
        given = {key: inputs[key] for key in specs}
        # Such as whole segments, where the example is a sound of any length.
        if not all(specs[key].shape.is_compatible_with(np.shape(given[key])) for key in specs):
            continue
        expected = function(**{key: tf.constant(value) for key, value in given.items()})
        same(by_rest(server, name, given, signature), expected, 1e-5)
        same(by_grpc(server, name, given, signature), expected, 1e-6)
        checked += 1
    assert checked


def check_independence(server: Running, name: str, inputs: Mapping[str, Any]) -> None:
    """A sample has the same answer alone and among 31 others that differ from it."""
    random = np.random.default_rng(3)
    rows = random.integers(0, _rows(inputs), 32)
    batch = {key: _varied(np.asarray(array), rows, random) for key, array in inputs.items()}
    together = by_grpc(server, name, batch, "serving_default")
    for place in (0, 13, 31):
        alone = {
            key: array[place : place + 1] if array.ndim else array for key, array in batch.items()
        }
        answer = by_grpc(server, name, alone, "serving_default")
        same(answer, {key: array[place : place + 1] for key, array in together.items()}, 1e-5)


def _rows(inputs: Mapping[str, Any]) -> int:
    return next(len(array) for array in inputs.values() if np.ndim(array))


def _varied(array: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if not array.ndim:
        return array
    taken = array[rows]
    if taken.dtype.kind != "f":
        return taken
    factor = random.uniform(0.5, 1.5, (len(rows),) + (1,) * (taken.ndim - 1))
    return (taken * factor).astype(taken.dtype)


def _json(array: np.ndarray) -> Any:
    if array.dtype.kind in "OSU":
        text = [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1)]
        return np.array(text, object).reshape(array.shape).tolist()
    return array.tolist()
