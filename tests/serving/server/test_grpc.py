"""By the stubs of tensorflow-serving-api, which are not ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from moe_apps.serving.server.run import Running
from toy_saved_model import LABELS, ROWS

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel: grpc.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(
    signature: str = "", model: str = "toy", version: int | None = None, **inputs: Any
) -> predict_pb2.PredictRequest:
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name, asked.model_spec.signature_name = model, signature
    if version is not None:
        asked.model_spec.version.value = version
    for name, value in inputs.items():
        asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return asked


def refused(call: Any, asked: Any, timeout: float = 20) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(asked, timeout)
    return caught.value.code(), caught.value.details()


def test_predict(prediction: Any) -> None:
    answer = prediction.Predict(request(x=ROWS), 20)
    assert answer.model_spec.name == "toy"
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.signature_name == "serving_default"
    assert answer.outputs.keys() == {"y", "total"}
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["y"]), 2 * ROWS)
    asked = request("scaled", version=1, x=ROWS, times=np.int32(3))
    np.testing.assert_allclose(
        tf.make_ndarray(prediction.Predict(asked, 20).outputs["y"]), 3 * ROWS
    )
    raw = np.array([b"\x00\xff", b""], object)
    answer = prediction.Predict(request("echo", image_bytes=raw), 20)
    assert tf.make_ndarray(answer.outputs["same_bytes"]).tolist() == raw.tolist()


def test_outputs_can_be_chosen(prediction: Any) -> None:
    asked = request(x=ROWS)
    asked.output_filter.append("total")
    assert prediction.Predict(asked, 20).outputs.keys() == {"total"}
    asked.output_filter.append("total")
    code, message = refused(prediction.Predict, asked)
    assert (code, message) == (Code.INVALID_ARGUMENT, "duplicate output tensor alias: total")
    asked.output_filter[1] = "z"
    code, message = refused(prediction.Predict, asked)
    assert message.startswith("output tensor alias not found in signature: z Outputs expected")


def examples(*rows: list[float]) -> Any:
    features = [tf.train.Feature(float_list=tf.train.FloatList(value=row)) for row in rows]
    return [
        tf.train.Example(features=tf.train.Features(feature={"x": feature})) for feature in features
    ]


def test_classify_and_regress(prediction: Any) -> None:
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name, asked.model_spec.signature_name = "toy", "classify"
    asked.input.example_list.examples.extend(examples([1, 2], [0, 0]))
    rows = prediction.Classify(asked, 20).result.classifications
    assert [one.label for one in rows[0].classes] == LABELS
    np.testing.assert_allclose([one.score for one in rows[1].classes], 1 / 3, atol=1e-6)
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.name, asked.model_spec.signature_name = "toy", "regress"
    assert refused(prediction.Regress, asked) == (Code.INVALID_ARGUMENT, "Input is empty.")
    asked.input.example_list.examples.extend(examples([1, 2]))
    assert [one.value for one in prediction.Regress(asked, 20).result.regressions] == [3]


def test_metadata_and_status(prediction: Any, models: Any) -> None:
    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = "toy"
    _, message = refused(prediction.GetModelMetadata, asked)
    assert message == "GetModelMetadataRequest must specify at least one metadata_field"
    asked.metadata_field.append("signature_def")
    answer = prediction.GetModelMetadata(asked, 20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["scaled"].inputs.keys() == {"x", "times"}
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "toy"
    [status] = models.GetModelStatus(asked, 20).model_version_status
    assert (status.version, status.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    asked.model_spec.name = "none"
    assert refused(models.GetModelStatus, asked)[0] is Code.NOT_FOUND


MISTAKES = [
    (predict_pb2.PredictRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
    (request(model="none"), Code.NOT_FOUND, "Servable not found for request: Latest(none)"),
    (request(model="../toy"), Code.NOT_FOUND, "Servable not found for request: Latest(../toy)"),
    (request(version=9), Code.NOT_FOUND, "Servable not found for request: Specific(toy, 9)"),
    (request("none"), Code.FAILED_PRECONDITION, 'Serving signature key "none" not found.'),
    (
        request(),
        Code.INVALID_ARGUMENT,
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
        "Missing but required: {x}.",
    ),
    (request(z=ROWS), Code.INVALID_ARGUMENT, "Signature input alias: x(feed name: "),
    (request(x=ROWS.astype(float)), Code.INVALID_ARGUMENT, "Expects arg[0] to be float32 but"),
    (request(x=ROWS[0]), Code.INVALID_ARGUMENT, "input 'x' has shape [2], expected [-1,2]"),
    (request("positive", x=-ROWS), Code.INVALID_ARGUMENT, "assertion failed: [x must be positive]"),
]


@pytest.mark.parametrize(("asked", "code", "message"), MISTAKES)
def test_a_mistake_is_told(prediction: Any, asked: Any, code: Any, message: str) -> None:
    found, details = refused(prediction.Predict, asked)
    assert found is code
    assert details.startswith(message)
    assert "moe_apps" not in details
    assert prediction.Predict(request(x=ROWS), 20).outputs.keys() == {"y", "total"}


def test_hostile_tensors_are_refused_at_once(prediction: Any) -> None:
    huge = request(x=ROWS)
    huge.inputs["x"].tensor_shape.dim[0].size = 2**40  # a few values that stand for terabytes
    negative = request(x=ROWS)
    negative.inputs["x"].tensor_shape.dim[0].size = -1
    cut = request(x=ROWS)
    cut.inputs["x"].tensor_content = cut.inputs["x"].tensor_content[:5]
    unknown = request(x=ROWS)
    unknown.inputs["x"].dtype = 99
    for asked in (huge, negative, cut, unknown):
        code, message = refused(prediction.Predict, asked)
        assert code is Code.INVALID_ARGUMENT
        assert message.startswith("tensor parsing error: x")
    large = request(x=np.zeros((2**18, 2), np.float32))
    assert refused(prediction.Predict, large)[0] is Code.RESOURCE_EXHAUSTED
    asked = inference_pb2.MultiInferenceRequest()
    assert refused(prediction.MultiInference, asked)[0] is Code.UNIMPLEMENTED


def test_garbage_instead_of_a_message(server: Running, channel: grpc.Channel) -> None:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError):
        call(b"\xff" * 100, timeout=20)
    host, port = server.grpc.split(":")
    import socket

    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n" * 10)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    assert stub.Predict(request(x=ROWS), 20).outputs.keys() == {"y", "total"}


def test_the_callers_deadline_ends_the_run(prediction: Any) -> None:
    asked = request("slow", steps=np.array([10_000_000], np.int32))
    assert refused(prediction.Predict, asked, 0.5)[0] is Code.DEADLINE_EXCEEDED
    # There is one thread for runs: it answers, so the run before it has ended.
    asked = request("slow", steps=np.array([1], np.int32))
    assert tf.make_ndarray(prediction.Predict(asked, 20).outputs["y"]) == [1]


def reload(models: Any, base: str, **label: int) -> Any:
    asked = model_management_pb2.ReloadConfigRequest()
    asked.config.model_config_list.config.add(
        name="toy", base_path=base, model_platform="tensorflow", version_labels=label
    )
    return models.HandleReloadConfigRequest(asked, 20).status


def test_labels_come_with_a_new_configuration(
    server: Running, prediction: Any, models: Any
) -> None:
    status = reload(models, "/etc")
    assert status.error_code == 3
    assert "base path /etc is not below" in status.error_message
    assert "not below" in reload(models, "/models/../../etc").error_message
    assert server.models.served() == {"toy": [1]}
    assert reload(models, "/models/toy", stable=1).error_code == 0
    asked = request(x=ROWS)
    asked.model_spec.version_label = "stable"
    assert prediction.Predict(asked, 20).model_spec.version.value == 1
    asked.model_spec.version_label = "canary"
    code, message = refused(prediction.Predict, asked)
    assert code is Code.INVALID_ARGUMENT
    assert message == "Unrecognized servable version label: canary"
