"""How fast a trained run answers: the SavedModel in a process with TensorFlow alone, and Keras.

    python benchmarks/trajectory/served_latency.py runs/trajectory/RUN

Times of one call for 1 and for 256 vehicles: median and 95th percentile of many calls after a
warm-up, the answer read back as an array. Inputs are tensors already, as in a server. Each part
runs in a process of its own (`--part`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
OUTPUT = HERE.parents[1] / "results" / "trajectory_latency.csv"
CALLS = {1: 500, 256: 60}
WARM_UP = 20


def times(call: Callable[[Any], Any], example: dict[str, Any], size: int) -> dict[str, float]:
    """Median and 95th percentile of calls for so many vehicles, in milliseconds."""
    import tensorflow as tf

    inputs = {
        name: tf.constant(np.repeat(np.asarray(values, np.float32), size, axis=0))
        for name, values in example.items()
    }
    for _ in range(WARM_UP):
        call(inputs)
    found = []
    for _ in range(CALLS[size]):
        started = time.perf_counter()
        np.asarray(call(inputs))
        found.append(1000 * (time.perf_counter() - started))
    return {"p50_ms": float(np.median(found)), "p95_ms": float(np.quantile(found, 0.95))}


def saved_model(run: Path) -> dict[str, Callable[[Any], Any]]:
    import tensorflow as tf

    model = tf.saved_model.load(str(run / "saved_model" / "1"))
    served = model.signatures["serving_default"]
    # TensorFlow itself imports keras; what matters is that none of ours is needed.
    assert "moe_apps" not in sys.modules
    return {"SavedModel, TensorFlow alone": lambda inputs: served(**inputs)["forecast"]}


def keras_model(run: Path) -> dict[str, Callable[[Any], Any]]:
    import tensorflow as tf

    from moe_apps.models.trajectory.trajectory_model import point_forecast
    from moe_apps.pipelines.tracked_run import load_model

    model = load_model(run / "model.keras")

    def forecast(inputs: Any) -> Any:
        return point_forecast(model(inputs, training=False))

    return {
        "Keras, model(inputs)": forecast,
        "Keras, model.predict_on_batch": lambda x: point_forecast(model.predict_on_batch(x)),
        "Keras, tf.function(model)": tf.function(forecast, autograph=False),
    }


def measure(part: str, run: Path) -> dict[str, dict[int, dict[str, float]]]:
    example = json.loads((run / "example.json").read_text())
    ways = saved_model(run) if part == "saved_model" else keras_model(run)
    return {way: {size: times(call, example, size) for size in CALLS} for way, call in ways.items()}


def in_a_process(part: str, run: Path) -> dict[str, dict[str, dict[str, float]]]:
    done = subprocess.run(
        [sys.executable, str(HERE), str(run), "--part", part],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--part", choices=("saved_model", "keras"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measure(arguments.part, arguments.run)))
        return
    found = {
        k: v for p in ("saved_model", "keras") for k, v in in_a_process(p, arguments.run).items()
    }
    sys.path.insert(0, str(HERE.parents[1]))
    from circumstances import circumstances, write

    facts = {"cores": len(os.sched_getaffinity(0)), **circumstances()}
    rows = [
        {
            "way": way,
            "vehicles": int(size),
            **{name: round(value, 3) for name, value in one.items()},
            "vehicles_per_second": round(1000 * int(size) / one["p50_ms"]),
            **facts,
        }
        for way, sizes in found.items()
        for size, one in sizes.items()
    ]
    for row in rows:
        print(*(row[name] for name in ("way", "vehicles", "p50_ms", "vehicles_per_second")))
    write(rows, arguments.output)


if __name__ == "__main__":
    main()
