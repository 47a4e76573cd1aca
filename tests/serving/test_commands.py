from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from moe_apps import api
from moe_apps.cli import app
from moe_apps.errors import ConfigError
from moe_apps.serving.server.run import Running
from toy_saved_model import ROWS


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def error(*arguments: object) -> str:
    """Run what must be refused: one line on standard error, exit code 2."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("moe-apps: error: ").strip()


def test_call_prints_or_writes_the_answer(server: Running, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    asked = ["call", server.rest, "toy", "--input", tmp_path / "x.npy", "--signature", "scaled"]
    answer = json.loads(run(*asked, "--set", "times=3").stdout)
    assert answer == {"y": (3 * ROWS).tolist()}
    done = run(*asked, "--set", "times=3", "--output", tmp_path / "y.json")
    assert done.stdout.strip() == f"y in {tmp_path / 'y.json'}"
    assert json.loads((tmp_path / "y.json").read_text()) == answer
    message = error(*asked, "--set", "times=x")
    assert message.startswith("times: cannot be made int32 []")
    assert "takes times int32 [], x float32 [any, 2]; given are x" in error(*asked)
    assert "Latest(none)" in error("call", server.rest, "none", "--input", tmp_path / "x.npy")


def test_serve_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error("serve", tmp_path / "none").endswith("none: no such folder of models")
    (tmp_path / "models.config").write_text("model_config_list { config { nam: 1 } }")
    options = ["--rest-port", "0", "--grpc-port", "0"]
    config = ["--models-config", tmp_path / "models.config"]
    assert "models.config: " in error("serve", tmp_path, *options, *config)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = error("serve", tmp_path, "--rest-port", port, "--grpc-port", "0")
        assert message == f"REST cannot listen on 127.0.0.1:{port}: Address already in use"
        message = error("serve", tmp_path, "--rest-port", "0", "--grpc-port", port)
        assert message == f"gRPC cannot listen on 127.0.0.1:{port}"
    monkeypatch.setattr(api, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(ConfigError, match=r"uvicorn: not installed; install by pip install"):
        api.serve(tmp_path)


def test_serve_config_lists_its_files(tmp_path: Path) -> None:
    version = tmp_path / "served" / "cars" / "1"
    version.mkdir(parents=True)
    (version / "MODEL.json").write_text('{"signatures": {}}')
    done = run("serve-config", tmp_path / "served", "--to", tmp_path / "out")
    files = [Path(line) for line in done.stdout.split()]
    assert all(file.is_file() for file in files)
    assert {"models.config", "compose.yaml", "kubernetes.yaml"} <= {file.name for file in files}
    assert "has no model" in error("serve-config", tmp_path / "out", "--to", tmp_path / "new")
