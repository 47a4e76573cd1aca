from __future__ import annotations

import json
import socket
from typing import Any

import numpy as np
import pytest
import requests

from moe_apps.serving.server.run import Running
from toy_saved_model import LABELS, ROWS

PREDICT = "/v1/models/toy:predict"


def post(server: Running, path: str, body: Any) -> requests.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(server.rest + path, data=content, timeout=30)


def answer(server: Running, body: Any, path: str = PREDICT) -> Any:
    response = post(server, path, body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/toy/versions/1:predict"])
def test_rows_and_columns(server: Running, path: str) -> None:
    doubled, total = (2 * ROWS).tolist(), ROWS.sum(axis=1).tolist()
    rows = [{"total": t, "y": y} for t, y in zip(total, doubled, strict=True)]
    assert answer(server, {"instances": ROWS.tolist()}, path) == {"predictions": rows}
    named = [{"x": row} for row in ROWS.tolist()]
    assert answer(server, {"instances": named}, path) == {"predictions": rows}
    columns = {"outputs": {"y": doubled, "total": total}}
    assert answer(server, {"inputs": ROWS.tolist()}, path) == columns
    assert answer(server, {"inputs": {"x": ROWS.tolist()}}, path) == columns


def test_one_output_drops_its_name_and_scalars_stand_beside_rows(server: Running) -> None:
    body = {"signature_name": "scaled", "inputs": {"x": ROWS.tolist(), "times": 3}}
    assert answer(server, body) == {"outputs": (3 * ROWS).tolist()}


def test_words_from_the_vocabulary_that_was_exported(server: Running) -> None:
    words = [{"word": "two", "n": 3}, {"word": "Ärger", "n": 1}]
    assert answer(server, {"signature_name": "words", "instances": words}) == {
        "predictions": [{"id": 6, "upper": "TWO"}, {"id": -1, "upper": "ÄRGER"}]
    }


def test_bytes_are_base64_both_ways(server: Running) -> None:
    body = {"signature_name": "echo", "instances": [{"b64": "AAEC/w=="}, "text"]}
    assert answer(server, body)["predictions"] == [
        {"same_bytes": {"b64": "AAEC/w=="}, "length": 4},
        {"same_bytes": {"b64": "dGV4dA=="}, "length": 4},
    ]


def test_nan_and_infinity_are_numbers(server: Running) -> None:
    response = post(server, PREDICT, b'{"instances": [[NaN, 1.5], [-Infinity, 0.1]]}')
    assert '"y": [NaN, 3.0]' in response.text
    assert '"y": [-Infinity, 0.2]' in response.text  # the shortest decimals of the float32
    assert np.isnan(json.loads(response.text)["predictions"][0]["total"])


def test_classify_and_regress(server: Running) -> None:
    examples = [{"x": [1.0, 2.0]}, {"x": [0.5, -0.25]}]
    body = {"signature_name": "classify", "examples": examples}
    results = answer(server, body, "/v1/models/toy:classify")["results"]
    assert [label for label, _ in results[0]] == LABELS
    scores = np.exp(np.array([[-3, 0, 3], [-0.25, 0, 0.25]]))
    scores /= scores.sum(axis=1, keepdims=True)
    found = [[score for _, score in row] for row in results]
    np.testing.assert_allclose(found, scores, atol=1e-6)
    with_context = {**body, "context": {"x": [1.0, 2.0]}, "examples": [{}]}
    assert answer(server, with_context, "/v1/models/toy:classify")["results"] == results[:1]
    body = {"signature_name": "regress", "examples": examples}
    assert answer(server, body, "/v1/models/toy:regress") == {"results": [3.0, 0.25]}


def test_status_and_metadata(server: Running) -> None:
    status = requests.get(f"{server.rest}/v1/models/toy").json()
    ok = {"error_code": "OK", "error_message": ""}
    expected = [{"version": "1", "state": "AVAILABLE", "status": ok}]
    assert status == {"model_version_status": expected}
    about = requests.get(f"{server.rest}/v1/models/toy/versions/1/metadata").json()
    assert about["model_spec"] == {"name": "toy", "version": "1"}
    signature = about["metadata"]["signature_def"]["signature_def"]["scaled"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    x = signature["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in x["tensor_shape"]["dim"]] == ["-1", "2"]


SCALED = {"signature_name": "scaled"}
MISTAKES = [
    (b"", 400, "JSON Parse error: The document is empty"),
    (b"{", 400, "JSON Parse error"),
    (b"\xff\xfe\x00garbage", 400, "JSON Parse error"),
    (b"[" * 100_000, 400, "JSON Parse error"),
    (b"[]", 400, "Is not object"),
    ({}, 400, "Missing 'inputs' or 'instances' key"),
    ({"inputs": 1, "instances": [1]}, 400, "expecting only one of 'inputs' or 'instances'"),
    ({"instances": "x"}, 400, "Excepting 'instances' to be an list/array"),
    ({"instances": []}, 400, "No values in 'instances' array"),
    ({"signature_name": 3}, 400, "'signature_name' key must be a string value"),
    ({"signature_name": "none", "inputs": 1}, 400, 'name: "none" not found in signature def'),
    ({"inputs": {"z": 1}}, 400, "Missing named input: x in 'inputs' object."),
    ({"instances": [{"z": 1}]}, 400, "does not have named input: z"),
    ({**SCALED, "instances": [{"x": [1, 2]}]}, 400, "keys must be equal to: times,x"),
    ({**SCALED, "instances": [[1, 2]]}, 400, "expecting list of objects"),
    ({**SCALED, "inputs": [[1, 2]]}, 400, "expecting an object as multiple input tensors"),
    ({"instances": [[1, 2], {"x": [1, 2]}]}, 400, "Expecting value/list but got object at item 1"),
    ({"instances": [[1, 2], [3]]}, 400, "Expecting tensor size: 2 but got: 1"),
    ({"instances": [[1, [2]]]}, 400, "Encountered list at unexpected level: 1"),
    ({"inputs": [[1, 2], 3]}, 400, "found at incorrect level: 2"),
    ({"inputs": [[1, 2], [3]]}, 400, "Encountered list at unexpected size: 1 at level: 1"),
    ({"instances": [["a", "b"]]}, 400, "Type: String is not of expected type: float32"),
    ({"instances": [[1.0, True]]}, 400, "Type: True is not of expected type: float32"),
    ({"instances": [[1.0, None]]}, 400, "Type: Null is not of expected type: float32"),
    ({"instances": [[1, 16777216]]}, 400, "to float without loss of precision"),
    ({"instances": [[1, 1e39]]}, 400, "to float without loss of precision"),
    ({**SCALED, "inputs": {"x": [[1, 2]], "times": 1.5}}, 400, "not of expected type: int32"),
    ({**SCALED, "inputs": {"x": [[1, 2]], "times": 2**31}}, 400, "not of expected type: int32"),
    ({"instances": [[1, 2, 3]]}, 400, "input 'x' has shape [1,3], expected [-1,2]"),
    ({"inputs": 3}, 400, "input 'x' has shape [], expected [-1,2]"),
    ({"signature_name": "echo", "inputs": [{"b64": "*"}]}, 400, "Unable to base64 decode"),
    ({"signature_name": "echo", "inputs": [1]}, 400, "not of expected type: string"),
    ({"signature_name": "positive", "inputs": [[1, -1]]}, 400, "x must be positive"),
    ({"signature_name": "joint", "instances": [[1, 1]]}, 400, "has no shape information"),
    (b" " * (2**20 + 1), 413, "larger than 1048576 bytes"),
]


@pytest.mark.parametrize(("body", "status", "message"), MISTAKES)
def test_a_mistake_is_told_and_the_server_lives_on(
    server: Running, body: Any, status: int, message: str
) -> None:
    response = post(server, PREDICT, body)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert message in response.json()["error"]
    assert len(response.text) < 1000
    assert "moe_apps" not in response.text
    assert answer(server, {"inputs": [[1, 2]]})["outputs"]["y"] == [[2, 4]]


EXAMPLES = [
    ({}, "key 'examples' is expected"),
    ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
    ({"examples": []}, "'examples' value is an empty array"),
    ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
    ({"examples": [{"x": [1.0, None]}]}, "unexpected JSON type: Null"),
    ({"examples": [{"x": [1.0, "a"]}]}, "Unexpected element type in feature: x"),
    ({"examples": [{"x": [2**63]}]}, "Only int64 is supported"),
    ({"examples": [{"x": [1.0]}]}, "x"),
    ({"signature_name": "none", "examples": [{}]}, "No signature was found with the name: none"),
    ({"signature_name": "serving_default", "examples": [{}]}, "No classification inputs found"),
]


@pytest.mark.parametrize(("body", "message"), EXAMPLES)
def test_mistakes_in_examples(server: Running, body: Any, message: str) -> None:
    body = {"signature_name": "classify", **body}
    response = post(server, "/v1/models/toy:classify", body)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("POST", "/v1/models/toy/versions/7:predict", 404, "request: Specific(toy, 7)"),
        ("POST", f"/v1/models/toy/versions/{'9' * 30}:predict", 400, "Failed to convert version"),
        ("POST", "/v1/models/toy/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("POST", "/v1/models/toy:explode", 400, "Malformed request: POST /v1/models/toy:explode"),
        ("POST", "/v1/models/..%2F..%2Fetc%2Fpasswd:predict", 404, "Servable not found"),
        ("POST", "/v1/models/toy%2F1:predict", 404, "Servable not found"),
        ("GET", "/v1/models/..%2Ftoy", 404, "Could not find any versions of model ../toy"),
        ("GET", "/v1/models/none", 404, "Could not find any versions of model none"),
        ("GET", "/v1/models/toy/versions/7", 404, "Could not find version 7 of model toy"),
        ("GET", "/v1/models/none/metadata", 404, "Servable not found"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/other", 400, "Malformed request: GET /v1/other"),
    ],
)
def test_what_is_not_there(
    server: Running, method: str, path: str, status: int, message: str
) -> None:
    response = requests.request(method, server.rest + path, data=b'{"inputs": 1}', timeout=30)
    assert response.status_code == status
    assert message in response.json()["error"]


def test_a_run_ends_at_its_time_out(server: Running) -> None:
    response = post(server, PREDICT, {"signature_name": "slow", "inputs": [10_000_000]})
    assert response.status_code == 504
    assert answer(server, {"signature_name": "slow", "inputs": [1]}) == {"outputs": [1]}


def test_a_body_that_never_ends_takes_no_thread(server: Running) -> None:
    host, port = server.rest.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        assert answer(server, {"inputs": [[1, 2]]})["outputs"]["total"] == [3]
        assert b" 408 " in connection.recv(1000).split(b"\r\n")[0]


def test_metrics_count_by_model_call_and_code(server: Running) -> None:
    answer(server, {"inputs": [[1, 2]]})
    post(server, "/v1/models/invented:predict", {})
    page = requests.get(f"{server.rest}/monitoring/prometheus/metrics").text
    assert 'requests_total{code="OK",method="predict",model_name="toy",protocol="rest"}' in page
    assert 'code="NOT_FOUND",method="predict",model_name="",protocol="rest"' in page
    assert 'moe_apps_serving_version_available{model_name="toy",version="1"} 1.0' in page
    assert "invented" not in page
