from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from moe_apps import api
from moe_apps.errors import ConfigError, DataError
from moe_apps.serving.client.connection import CallError, connect
from moe_apps.serving.client.described import Which
from moe_apps.serving.server.run import Running
from toy_saved_model import ROWS


@pytest.fixture(params=["rest", "grpc"])
def url(request: pytest.FixtureRequest, server: Running) -> str:
    return server.rest if request.param == "rest" else f"grpc://{server.grpc}"


def test_answers_are_arrays_under_their_names(url: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"x": ROWS.tolist()}))
    answer = api.call(url, "toy", input=tmp_path / "x.json")
    assert answer["y"].dtype == answer["total"].dtype == np.float32
    np.testing.assert_allclose(answer["y"], 2 * ROWS)
    np.testing.assert_allclose(answer["total"], ROWS.sum(axis=1))
    answer = api.call(
        url, "toy", input=tmp_path / "x.json", signature="scaled", set=["times=3"], version=1
    )
    np.testing.assert_allclose(answer["y"], 3 * ROWS)


def test_text_and_bytes(url: str, tmp_path: Path) -> None:
    (tmp_path / "cars.csv").write_text("word,n,other\ntwo,3,a\n,1,b\nÄ,2,c\n")
    answer = api.call(url, "toy", input=tmp_path / "cars.csv", signature="words")
    assert answer["id"].tolist() == [6, -1, -2]
    assert answer["upper"].tolist() == ["TWO", "", "Ä"]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\xff")
    answer = api.call(url, "toy", input=tmp_path / "a.png", signature="echo")
    assert answer["same_bytes"].tolist() == [b"\x89PNG\xff"]
    assert answer["length"].tolist() == [5]


def test_writes_the_answer_to_a_file(url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    for name in ("y.json", "y.npz"):
        api.call(url, "toy", input=tmp_path / "x.npy", output=tmp_path / name)
    assert json.loads((tmp_path / "y.json").read_text())["y"] == (2 * ROWS).tolist()
    with np.load(tmp_path / "y.npz", allow_pickle=False) as written:
        np.testing.assert_array_equal(written["y"], 2 * ROWS)


def test_what_the_server_refuses_is_one_line(url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    call = api.call
    with pytest.raises(CallError, match=r"Servable not found for request: Latest\(none\)"):
        call(url, "none", input=tmp_path / "x.npy")
    with pytest.raises(CallError, match="Unrecognized servable version label: x"):
        call(url, "toy", input=tmp_path / "x.npy", label="x")
    with pytest.raises(DataError, match="no signature 'none', only classify, echo, joint"):
        call(url, "toy", input=tmp_path / "x.npy", signature="none")
    np.save(tmp_path / "bad.npy", -ROWS)
    with pytest.raises(CallError, match="x must be positive") as caught:
        call(url, "toy", input=tmp_path / "bad.npy", signature="positive")
    assert caught.value.code in (400, "INVALID_ARGUMENT")
    assert "\n" not in str(caught.value)
    np.save(tmp_path / "bad.npy", ROWS[0])
    with pytest.raises(CallError, match=r"input 'x' has shape \[2\], expected \[-1,2\]"):
        call(url, "toy", input=tmp_path / "bad.npy")


def test_what_the_server_need_not_be_asked(server: Running, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"z": 1}')
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "words.csv").write_text("word\ntwo\n")
    (tmp_path / "half.json").write_text('{"x": [[1, 2]], "times": 1.5}')
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)

    def error(name: str, **settings: Any) -> str:
        with pytest.raises((DataError, ConfigError)) as caught:
            api.call(server.rest, "toy", input=tmp_path / name, **settings)
        return str(caught.value)

    assert error("x.json") == "signature 'serving_default' takes x float32 [any, 2]; given are z"
    assert "is not valid JSON" in error("bad.json")
    assert "cannot be read: No such file" in error("none.json")
    assert "expected one of .json" in error("x.xyz")
    assert "allow_pickle=False" in error("pickle.npy")
    assert "columns are missing: n int64 [any]" in error("words.csv", signature="words")
    assert "not whole, expected int32" in error("half.json", signature="scaled")
    assert "expected NAME=VALUE" in error("x.json", set=["times"])
    assert "expected a file .json or .npz" in error("x.json", output="y.pkl")
    with pytest.raises(ConfigError, match="expected http://HOST:PORT"):
        connect("ftp://localhost")


@pytest.fixture
def busy_rest() -> Iterator[Callable[[list[int]], str]]:
    """A server that answers by the statuses it is given, then by the toy's metadata."""
    servers = []

    def start(statuses: list[int]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                spec = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}}
                one = {"serving_default": {"inputs": {"x": spec}, "outputs": {"y": spec}}}
                self._answer({"metadata": {"signature_def": {"signature_def": one}}})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer({"outputs": [1.5]})

            def _answer(self, content: Any) -> None:
                status = statuses.pop(0) if statuses else 200
                body = json.dumps(content if status == 200 else {"error": "busy"}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_rest_is_tried_again_when_the_server_is_busy(
    busy_rest: Callable[[list[int]], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    statuses = [503, 429, 200, 429, 503]
    client = connect(busy_rest(statuses))
    assert client.predict(Which("toy"), {"x": [1.0]})["y"].tolist() == [1.5]
    assert statuses == []
    statuses = [503] * 9
    client = connect(busy_rest(statuses), retries=2)
    with pytest.raises(CallError, match="503: busy") as caught:
        client.predict(Which("toy"), {"x": [1.0]})
    assert caught.value.code == 503
    assert len(statuses) == 9 - 3
    statuses = [400, 200]
    with pytest.raises(CallError, match="400: busy"):
        connect(busy_rest(statuses)).predict(Which("toy"), {"x": [1.0]})
    assert statuses == [200], "what is wrong is not sent again"


class BusyService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, codes: list[grpc.StatusCode]) -> None:
        self.codes = codes

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        if self.codes:
            context.abort(self.codes.pop(0), "busy")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signatures.signature_def["serving_default"].inputs["x"].dtype = 1
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(signatures)
        return response

    def Predict(self, request: Any, context: Any) -> Any:
        response = predict_pb2.PredictResponse()
        response.outputs["y"].CopyFrom(request.inputs["x"])
        return response


def test_grpc_is_tried_again_when_the_server_is_busy() -> None:
    from concurrent.futures import ThreadPoolExecutor

    service = BusyService([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = connect(f"grpc://127.0.0.1:{port}")
    assert client.predict(Which("toy"), {"x": 1.5})["y"] == 1.5
    service.codes[:] = [grpc.StatusCode.INVALID_ARGUMENT] * 2
    with pytest.raises(CallError, match="INVALID_ARGUMENT: busy"):
        client.signature(Which("toy", version=1))
    assert len(service.codes) == 1
    client.close()
    server.stop(None).wait()
    with pytest.raises(CallError, match="UNAVAILABLE"):
        connect(f"grpc://127.0.0.1:{port}", retries=0).signature(Which("toy"))
    with pytest.raises(CallError, match=r"no answer: .*Connection refused"):
        connect(f"http://127.0.0.1:{port}", retries=0).signature(Which("toy"))
