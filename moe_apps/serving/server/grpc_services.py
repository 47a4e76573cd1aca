"""TensorFlow Serving's gRPC services: PredictionService and ModelService."""

from __future__ import annotations

import concurrent.futures
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

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
from moe_apps.serving.server.metrics import Metrics
from moe_apps.serving.server.models import Models
from moe_apps.serving.server.settings import ServerSettings
from moe_apps.serving.server.signature import Signature, find
from moe_apps.serving.server.sources import from_message
from moe_apps.serving.server.status import Code, StatusError, invalid

# Threads only wait for the runs; as many callers as this are answered at one time.
_CALLERS = 160
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def grpc_server(
    settings: ServerSettings, models: Models, batching: Batching, metrics: Metrics
) -> Any:
    """Return a gRPC server with both services, not started and without a port."""
    limit = settings.max_body_bytes
    server = grpc.server(
        ThreadPoolExecutor(_CALLERS, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
        ],
        maximum_concurrent_rpcs=settings.max_waiting + _CALLERS,
    )
    prediction = _Prediction(settings, models, batching, metrics)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    about = _About(settings, models, metrics)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(about, server)
    return server


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(
        self, settings: ServerSettings, models: Models, batching: Batching, metrics: Metrics
    ) -> None:
        self._settings, self._models = settings, models
        self._batching, self._metrics = batching, metrics

    def Predict(self, request: Any, context: Any) -> Any:
        with self._answering(request, context, "predict") as (model, run):
            signature = find(model.signatures, request.model_spec.signature_name)
            limit = self._settings.max_body_bytes
            inputs = {name: _array(name, value, limit) for name, value in request.inputs.items()}
            answer = run(signature, inputs, tuple(request.output_filter))
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, model, signature.name)
            for name, array in answer.items():
                dtype = signature.outputs[name].dtype
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array, dtype, array.shape))
            return response

    def Classify(self, request: Any, context: Any) -> Any:
        with self._answering(request, context, "classify") as (model, run):
            response = classification_pb2.ClassificationResponse()
            _classify(request, response, model, run)
            return response

    def Regress(self, request: Any, context: Any) -> Any:
        with self._answering(request, context, "regress") as (model, run):
            signature = regression(model, request.model_spec.signature_name)
            examples = _examples(request.input)
            values = values_of(run(signature, examples_tensor(examples), ()), len(examples))
            response = regression_pb2.RegressionResponse()
            _fill_spec(response.model_spec, model, signature.name)
            for value in values:
                response.result.regressions.add(value=value)
            return response

    def MultiInference(self, request: Any, context: Any) -> Any:
        with _errors_for(context):
            raise StatusError(Code.UNIMPLEMENTED, "MultiInference is not offered by this server")
        return inference_pb2.MultiInferenceResponse()

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        asked = _asked(request.model_spec)
        with _errors_for(context), self._metrics.request(asked.name, "metadata", "grpc"):
            _require_spec(request)
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != "signature_def":
                    raise invalid(f"Metadata field {field} is not supported")
            model = self._models.get(asked.name, asked.version, asked.label)
            try:
                return metadata_message(model)[0]
            finally:
                model.release()

    @contextmanager
    def _answering(
        self, request: Any, context: Any, method: str
    ) -> Iterator[tuple[LoadedModel, Callable[..., dict[str, np.ndarray]]]]:
        """The model that is asked for, and how to run it in the time that the caller gives."""
        asked = _asked(request.model_spec)
        with _errors_for(context), self._metrics.request(asked.name, method, "grpc"):
            _require_spec(request)
            model = self._models.get(asked.name, asked.version, asked.label)
            timeout = min(context.time_remaining() or math.inf, self._settings.timeout)

            def run(signature: Signature, inputs: Any, outputs: Any) -> dict[str, np.ndarray]:
                waiting = start(self._batching, model, signature, inputs, timeout, outputs)
                try:
                    return waiting.result(timeout + 1)
                except concurrent.futures.TimeoutError:
                    waiting.cancel()
                    raise StatusError(Code.DEADLINE_EXCEEDED, "the run took too long") from None

            try:
                yield model, run
            finally:
                model.release()


class _About(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, settings: ServerSettings, models: Models, metrics: Metrics) -> None:
        self._settings, self._models, self._metrics = settings, models, metrics

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        asked = _asked(request.model_spec)
        with _errors_for(context), self._metrics.request(asked.name, "status", "grpc"):
            _require_spec(request)
            return status_message(self._models.states(asked.name, asked.version, asked.label))
        return get_model_status_pb2.GetModelStatusResponse()

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        response = model_management_pb2.ReloadConfigResponse()
        try:
            sources = from_message(request.config, self._settings.folder)
        except StatusError as error:
            response.status.error_code = int(error.code)
            response.status.error_message = error.message
            return response
        self._models.replace(sources)
        return response


def _classify(request: Any, response: Any, model: LoadedModel, run: Any) -> None:
    signature = classification(model, request.model_spec.signature_name)
    examples = _examples(request.input)
    answer = run(signature, examples_tensor(examples), ())
    _fill_spec(response.model_spec, model, signature.name)
    for row in classes_of(answer, len(examples)):
        classes = response.result.classifications.add().classes
        for label, score in row:
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def _asked(spec: Any) -> Asked:
    version = spec.version.value if spec.HasField("version") else None
    return Asked(spec.name, version, spec.version_label, spec.signature_name)


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _fill_spec(spec: Any, model: LoadedModel, signature: str) -> None:
    spec.name, spec.signature_name = model.name, signature
    spec.version.value = model.version


def _array(name: str, message: Any, limit: int) -> np.ndarray:
    """The array of a message; one value may stand for many, so the size is looked at first."""
    try:
        dtype = tf.as_dtype(message.dtype)
        sizes = [dim.size for dim in message.tensor_shape.dim]
        if math.prod(sizes) * max(dtype.size, 1) > limit or any(size < 0 for size in sizes):
            raise invalid(f"tensor parsing error: {name}: shape {sizes} is too large or unknown")
        array: np.ndarray = tf.make_ndarray(message)
    except StatusError:
        raise
    except Exception as error:
        raise invalid(f"tensor parsing error: {name}: {error}") from None
    return array


def _examples(given: Any) -> list[bytes]:
    kind = given.WhichOneof("kind")
    if kind is None:
        return []
    listed = getattr(given, kind)
    # Serialized messages one after the other are one message that has the fields of both.
    context = listed.context.SerializeToString() if kind != "example_list" else b""
    return [context + example.SerializeToString() for example in listed.examples]


@contextmanager
def _errors_for(context: Any) -> Iterator[None]:
    try:
        yield
    except StatusError as error:
        context.abort(_GRPC_CODES[int(error.code)], error.message)
