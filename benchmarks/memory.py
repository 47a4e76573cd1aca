"""Peak memory of a process that takes training steps of one layer, with 64 experts.

Each layer is measured in a process of its own, whole, after five steps; a process that loads the
backend and computes nothing shows what is no layer's doing.

    python benchmarks/memory.py
    KERAS_BACKEND=jax python benchmarks/memory.py

The rows are written to benchmarks/results/memory-<backend>.csv.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import keras
from circumstances import circumstances, write
from moe_layer import HIDDEN, SHAPE, K, moe
from steps import BACKEND, MODES, compiled_step

from moe_apps.layers import SwiGLU

EXPERTS, STEPS = 64, 5
WAYS = ("nothing", "dense layer", "dropless", "capacity", "dense")


def peak(way: str, mode: str) -> int:
    """Megabytes at the peak of this process after some steps."""
    x = keras.random.normal(SHAPE, seed=1)
    if way != "nothing":
        layer = SwiGLU(K * HIDDEN) if way == "dense layer" else moe(EXPERTS, way)
        step = compiled_step(layer, x, mode, "training")
        for _ in range(STEPS):
            step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", choices=WAYS, help="measure this one in this process")
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    options = parser.parse_args()
    if options.way:
        print(peak(options.way, options.mode))
        return
    where, rows = circumstances(), []
    for mode in MODES:
        megabytes = {}
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--mode", mode]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            megabytes[way] = int(output.split()[-1])
            row = {"experts": EXPERTS, "mode": mode, "layer": way, "megabytes": megabytes[way]}
            row["ratio"] = round(megabytes[way] / megabytes.get("dense layer", megabytes[way]), 2)
            rows.append({**row, **where})
            print(*row.values(), sep="\t", flush=True)
    output = Path(__file__).parent / "results" / f"memory-{BACKEND}.csv"
    write(rows, output)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
