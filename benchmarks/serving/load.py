"""Load on the local server by wrk, beside the same SavedModel called in process.

    moe-apps train forecasting --quick --output runs/quick && moe-apps export runs/quick --to served
    python benchmarks/serving/load.py served

For every model in the folder and each concurrency: requests a second, p50/p95/p99 of the time to
answer, errors, and the memory of the server before and after; at the concurrencies of
`--one-by-one` also with requests that are never run together. Each request is one row of the
example that the model was exported with. `--soak MINUTES` then holds 32 connections on the first
model for that long and writes the memory every ten seconds.

wrk (Debian: apt install wrk) must be installed. Results: benchmarks/results/serving_load.csv, in
which rows of models that are not measured again stay, and serving_soak.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

RESULTS = Path(__file__).parents[1] / "results"
SCRIPT = """
local file = io.open(os.getenv("BODY"))
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT {"requests": %d, "errors": %d, "microseconds": %d, ' ..
    '"p50": %f, "p95": %f, "p99": %f}\\n', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""
TIMEOUT = 120  # seconds: 128 images wait for some 25 on two cores, near the server's usual 30
FIELDS = (
    "model", "how", "concurrency", "seconds", "requests", "errors", "requests_per_second",
    "p50_ms", "p95_ms", "p99_ms", "rss_before_mb", "rss_after_mb",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("served", type=Path, help="folder that moe-apps export wrote to")
    parser.add_argument("--models", nargs="*", help="by default all in the folder")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--one-by-one", type=int, nargs="*", default=[32])
    parser.add_argument("--soak", type=float, default=0, help="minutes; 0: none")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    models = chosen.models or sorted(p.name for p in chosen.served.iterdir() if p.is_dir())
    rows = []
    for model in models:
        rows.append(in_process(chosen.served, model, chosen.seconds))
        show(rows[-1])
        together = [("server, requests run together", 64, c) for c in chosen.concurrency]
        alone = [("server, one by one", 1, c) for c in chosen.one_by_one]
        for how, batch_rows, concurrency in together + alone:
            with serving(chosen.served, batch_rows) as (process, url):
                row = load(process, url, chosen.served, model, concurrency, chosen.seconds)
            rows.append({"model": model, "how": how, **row})
            show(rows[-1])
    file = chosen.results / "serving_load.csv"
    write(file, FIELDS, kept(file, models) + rows)
    if chosen.soak:
        soak(chosen.served, models[0], chosen.soak * 60, chosen.results)


def example(served: Path, model: str) -> tuple[Path, dict[str, np.ndarray]]:
    """The newest version, and one row of its example."""
    numbers = [p for p in (served / model).iterdir() if p.name.isdecimal()]
    version = max(numbers, key=lambda p: int(p.name))
    specs = json.loads((version / "MODEL.json").read_text())["signatures"]["serving_default"]
    given = json.loads((version / "assets.extra/example.json").read_text())["inputs"]
    arrays = {}
    for name, spec in specs["inputs"].items():
        array = np.array(given[name], object if spec["dtype"] == "string" else spec["dtype"])
        arrays[name] = array[:1] if array.ndim else array
    return version, arrays


def in_process(served: Path, model: str, seconds: float) -> dict[str, Any]:
    """One call after another, in a process of its own so that its memory is its own."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import load; load.call(*sys.argv[2:])"
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, here, str(served), model, str(seconds)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return {"model": model, "how": "in process", "concurrency": 1, **json.loads(done.stdout)}


def call(served: str, model: str, seconds: str) -> None:
    """What `in_process` runs; prints its result."""
    import tensorflow as tf

    version, arrays = example(Path(served), model)
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    for _ in range(20):
        signature(**tensors)
    before, times = memory(psutil.Process()), []
    end = time.perf_counter() + float(seconds)
    while (began := time.perf_counter()) < end:
        answer = signature(**tensors)
        for value in answer.values():
            value.numpy()
        times.append(time.perf_counter() - began)
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) * 1000
    result = {
        "seconds": float(seconds), "requests": len(times), "errors": 0,
        "requests_per_second": len(times) / sum(times), "p50_ms": p50, "p95_ms": p95,
        "p99_ms": p99, "rss_before_mb": before, "rss_after_mb": memory(psutil.Process()),
    }  # fmt: skip
    print(json.dumps(result))


@contextmanager
def serving(served: Path, batch_rows: int) -> Iterator[tuple[psutil.Process, str]]:
    command = [sys.executable, "-m", "moe_apps", "serve", str(served), "--rest-port", "0"]
    command += ["--grpc-port", "0", "--max-batch-rows", str(batch_rows)]
    command += ["--timeout", str(TIMEOUT)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"REST on (http://\S+?),", line):
                break
        else:
            raise SystemExit("".join(lines))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        try:
            yield psutil.Process(server.pid), found[1]
        finally:
            server.terminate()
            server.wait(60)


def load(
    process: psutil.Process, url: str, served: Path, model: str, concurrency: int, seconds: float
) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        wrk(folder, url, served, model, min(concurrency, 8), 2)  # warm
        before = memory(process)
        result = wrk(folder, url, served, model, concurrency, seconds)
    taken = result["microseconds"] / 1e6
    return {
        "concurrency": concurrency, "seconds": seconds, "requests": result["requests"],
        "errors": result["errors"], "requests_per_second": result["requests"] / taken,
        **{f"{p}_ms": result[p] / 1000 for p in ("p50", "p95", "p99")},
        "rss_before_mb": before, "rss_after_mb": memory(process),
    }  # fmt: skip


def wrk(
    folder: str, url: str, served: Path, model: str, concurrency: int, seconds: float
) -> dict[str, Any]:
    columns = {name: array.tolist() for name, array in example(served, model)[1].items()}
    body, script = Path(folder, "body.json"), Path(folder, "post.lua")
    body.write_text(json.dumps({"inputs": columns}))
    script.write_text(SCRIPT)
    command = ["wrk", "-c", str(concurrency), "-t", str(min(concurrency, 2))]
    command += ["--timeout", f"{TIMEOUT}s", "-d", f"{max(round(seconds), 1)}s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"{url}/v1/models/{model}:predict"],
        env={**os.environ, "BODY": str(body)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.split("RESULT ")[1])
    return result


def soak(served: Path, model: str, seconds: float, results: Path) -> None:
    """Hold 32 connections; the memory must not grow."""
    rows = []
    with serving(served, 64) as (process, url), TemporaryDirectory() as folder:
        wrk(folder, url, served, model, 32, 30)  # until all that is kept for reuse is there
        outcome: list[dict[str, Any]] = []
        thread = threading.Thread(
            target=lambda: outcome.append(wrk(folder, url, served, model, 32, seconds))
        )
        thread.start()
        began = time.monotonic()
        while thread.is_alive():
            rows.append({"seconds": round(time.monotonic() - began), "rss_mb": memory(process)})
            thread.join(10)
    write(results / "serving_soak.csv", ("seconds", "rss_mb"), rows)
    growth = rows[-1]["rss_mb"] - rows[len(rows) // 10]["rss_mb"]
    print(
        f"{model}: {outcome[0]['requests']} requests, {outcome[0]['errors']} errors, "
        f"memory {rows[-1]['rss_mb']:.0f} MB, {growth:+.1f} MB since the first tenth"
    )


def kept(file: Path, measured: list[str]) -> list[dict[str, Any]]:
    """Rows of an earlier run, of models that this one did not measure."""
    if not file.is_file():
        return []
    with file.open(newline="") as old:
        return [row for row in csv.DictReader(old) if row["model"] not in measured]


def memory(process: psutil.Process) -> float:
    """MB that belong to the process alone or with others."""
    return float(process.memory_info().rss / 1e6)


def show(row: Mapping[str, Any]) -> None:
    print(
        f"{row['model']:15} {row['how']:30} c={row['concurrency']:<4} "
        f"{row['requests_per_second']:8.1f}/s  p50 {row['p50_ms']:8.2f}  p95 {row['p95_ms']:8.2f}"
        f"  p99 {row['p99_ms']:8.2f} ms  errors {row['errors']}  "
        f"{row['rss_before_mb']:.0f} -> {row['rss_after_mb']:.0f} MB",
        flush=True,
    )


def write(path: Path, fields: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(
            {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


if __name__ == "__main__":
    main()
