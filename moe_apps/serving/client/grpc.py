"""A client of the gRPC interface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from moe_apps.serving.client.connection import CallError
from moe_apps.serving.client.described import Signature, Which, of_metadata


class GrpcConnection:
    """See `connect`."""

    def __init__(self, address: str, retries: int, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        policy = {
            "maxAttempts": min(retries + 1, 5),  # gRPC makes no more than five
            "initialBackoff": "0.1s",
            "maxBackoff": "5s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        }
        service = {"methodConfig": [{"name": [{}], **({"retryPolicy": policy} if retries else {})}]}
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", json.dumps(service)),
        ]
        self._channel = grpc.insecure_channel(address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._signatures: dict[Which, Signature] = {}

    def signature(self, which: Which) -> Signature:
        """Return what a signature takes and gives, as the server's metadata have it."""
        if which not in self._signatures:
            request = get_model_metadata_pb2.GetModelMetadataRequest()
            _fill(request.model_spec, which)
            request.model_spec.signature_name = ""
            request.metadata_field.append("signature_def")
            response = self._call(self._stub.GetModelMetadata, request)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            response.metadata["signature_def"].Unpack(signatures)
            definitions = MessageToDict(signatures, preserving_proto_field_name=True)
            self._signatures[which] = of_metadata(definitions["signature_def"], which)
        return self._signatures[which]

    def predict(self, which: Which, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs of a signature."""
        request = predict_pb2.PredictRequest()
        _fill(request.model_spec, which)
        for name, array in self.signature(which).arrays(inputs).items():
            dtype = tf.string if array.dtype == object else None
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array, dtype, array.shape))
        response = self._call(self._stub.Predict, request)
        return {name: _decoded(value) for name, value in sorted(response.outputs.items())}

    def close(self) -> None:
        """Close connections."""
        self._channel.close()

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, self._timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, str(error.details()).split("\n")[0]
            raise CallError(f"{self._address}: {code}: {details}", code) from None


def _fill(spec: Any, which: Which) -> None:
    spec.name, spec.signature_name = which.model, which.signature
    if which.label:
        spec.version_label = which.label
    elif which.version is not None:
        spec.version.value = which.version


def _decoded(value: Any) -> np.ndarray:
    array: np.ndarray = tf.make_ndarray(value)
    if array.dtype != object:
        return array
    return np.array(_text_of(array.tolist()), object)


def _text_of(value: Any) -> Any:
    """Text where it is some, as the REST interface gives it; else bytes."""
    if isinstance(value, list):
        return [_text_of(item) for item in value]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
