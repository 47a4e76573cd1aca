"""`moe-apps serve` as a process: stopped kindly, and killed while it switches versions."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests

from moe_apps.serving.server.run import running
from moe_apps.serving.server.settings import ServerSettings
from toy_saved_model import ROWS


@contextmanager
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """A server, its address, and the lines it has written so far."""
    command = [sys.executable, "-m", "moe_apps", "serve", str(folder)]
    command += ["--rest-port", "0", "--grpc-port", "0"]
    lines: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"REST on (http://127\.0\.0\.1:\d+), gRPC on 127", line):
                break
        else:
            pytest.fail("".join(lines))
        rest = server.stderr
        reader = threading.Thread(target=lambda: lines.extend(rest), daemon=True)
        reader.start()
        try:
            yield server, found[1], lines
        finally:
            server.kill()
            reader.join(10)


def ask(url: str, **body: object) -> requests.Response:
    return requests.post(f"{url}/v1/models/toy:predict", json=body, timeout=60)


def test_stops_when_what_is_under_way_is_answered(toy: Path) -> None:
    with process(toy) as (server, url, lines):
        answers: list[requests.Response] = []

        def slow() -> None:
            answers.append(ask(url, signature_name="slow", inputs=[100]))

        under_way = threading.Thread(target=slow)
        under_way.start()
        page = f"{url}/monitoring/prometheus/metrics"
        while "requests_under_way 1.0" not in requests.get(page, timeout=10).text:
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        under_way.join(10)
        assert answers[0].json() == {"outputs": [100]}
    text = "".join(lines)
    assert "serves toy (version 1)" in text
    assert text.rstrip().endswith("stopped")
    assert "Traceback" not in text, text
    assert " WARNING " not in text, text


def test_killed_during_a_switch_it_starts_again_with_a_whole_model(
    toy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    shutil.copytree(toy, folder)
    with process(folder) as (server, url, _):
        assert ask(url, inputs=ROWS.tolist()).status_code == 200
        shutil.copytree(toy / "toy" / "1", folder / "toy" / "2")
        status = f"{url}/v1/models/toy/versions/2"
        while requests.get(status, timeout=10).status_code == 404:
            time.sleep(0.002)
        server.kill()  # it has seen the new version and does not answer by it yet, or just so
    os.truncate(next((folder / "toy" / "2" / "variables").glob("*data*")), 100)
    with running(ServerSettings(folder, rest_port=0, grpc_port=0, poll=0.1)) as again:
        time.sleep(1)
        outputs = ask(again.rest, inputs=ROWS.tolist()).json()["outputs"]
        np.testing.assert_allclose(outputs["y"], 2 * ROWS)
        assert again.models.served() == {"toy": [1]}
