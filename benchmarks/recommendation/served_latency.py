"""How long the exported model takes for one user with 100 candidates, in bare TensorFlow.

    python benchmarks/recommendation/served_latency.py RUN

RUN is a trained run whose schema has fields of group item. The signature `rank` is called with
the fields of one user and 100 items, 2000 times after 50 calls to warm up. Results go to
benchmarks/results/recommendation_served_latency.csv.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

RESULTS = Path(__file__).parents[1] / "results" / "recommendation_served_latency.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--calls", type=int, default=2000)
    args = parser.parse_args()
    folder = max((args.run / "saved_model").iterdir(), key=lambda entry: entry.name)
    model = tf.saved_model.load(str(folder))
    rank = model.signatures["rank"]
    specs = rank.structured_input_signature[1]
    card = json.loads((folder / "MODEL.json").read_text())
    schema = json.loads((args.run / "preprocessing.json").read_text())["schema"]
    of_items = {field["name"] for field in schema["fields"] if field["group"] == "item"}
    example = json.loads((args.run / "example.json").read_text())
    random = np.random.default_rng(0)

    def request() -> dict[str, tf.Tensor]:
        made = {}
        user = random.integers(len(next(iter(example.values()))))
        items = random.integers(len(next(iter(example.values()))), size=args.candidates)
        for name, spec in specs.items():
            values = [np.nan if value is None else value for value in example[name]]
            rows = items if name in of_items else [user]
            made[name] = tf.constant([values[row] for row in rows], spec.dtype)
        return made

    times = []
    for call in range(args.calls + 50):
        inputs = request()
        began = time.perf_counter()
        answer = rank(**inputs)
        next(iter(answer.values())).numpy()
        if call >= 50:
            times.append(time.perf_counter() - began)
    milliseconds = 1000 * np.array(times)
    row = {
        "system": card["system"],
        "candidates": args.candidates,
        "calls": args.calls,
        "p50_ms": round(float(np.percentile(milliseconds, 50)), 3),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 3),
        "cpus": len(os.sched_getaffinity(0)),
        "tensorflow": tf.__version__,
        "date": datetime.date.today().isoformat(),
    }
    print(row)
    with RESULTS.open("w", newline="") as file:
        table = csv.DictWriter(file, row, lineterminator="\n")
        table.writeheader()
        table.writerow(row)


if __name__ == "__main__":
    main()
