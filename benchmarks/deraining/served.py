"""Seconds a megapixel of the exported model in a process of its own, beside the Keras call.

python benchmarks/deraining/served.py RUN [--side 512] [--output FILE.csv]
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parents[1] / "results" / "deraining_served.csv"
REPEATS = 5
ALONE = """
import sys, time
import numpy as np
import tensorflow as tf
call = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
side = int(sys.argv[2])
image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.uint8)
image = tf.constant(image)
call(images=image)
seconds = []
for _ in range(int(sys.argv[3])):
    started = time.perf_counter()
    call(images=image)["restored"].numpy()
    seconds.append(time.perf_counter() - started)
assert "moe_apps" not in sys.modules
print(sorted(seconds)[len(seconds) // 2])
"""


def keras_seconds(run: Path, side: int) -> float:
    """Median seconds of the model in memory on one image."""
    from moe_apps.pipelines.inference import in_batches
    from moe_apps.pipelines.run_folder import RunFolder
    from moe_apps.pipelines.tracked_run import load_model

    model = load_model(RunFolder.open(run).model_file)
    call = in_batches(model, model.restore, 1)
    image = np.random.default_rng(0).random((1, side, side, 3)).astype("float32")
    call(image, None)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call(image, None)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[REPEATS // 2]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", ALONE, str(arguments.run / "saved_model" / "1")]
    done = subprocess.run(
        [*command, str(arguments.side), str(REPEATS)], capture_output=True, text=True, check=True
    )
    megapixels = arguments.side**2 / 1e6
    rows = [
        {"call": name, "side": arguments.side, "seconds_per_megapixel": round(value, 4)}
        for name, value in (
            ("SavedModel, TensorFlow alone", float(done.stdout) / megapixels),
            ("Keras model in memory", keras_seconds(arguments.run, arguments.side) / megapixels),
        )
    ]
    for row in rows:
        print(*row.values())
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
