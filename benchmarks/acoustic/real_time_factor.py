"""Seconds that a served acoustic model takes for a second of sound, on one core.

    python benchmarks/acoustic/real_time_factor.py RUN       # folder of a trained run

In this process there is nothing of ours and nothing of Keras: TensorFlow with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", nargs="+", type=float, default=[5, 60, 600])
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    folder = arguments.run / "saved_model" / "1"
    card = json.loads((folder / "MODEL.json").read_text(encoding="utf-8"))
    function = tf.saved_model.load(folder).signatures["serving_default"]
    random = np.random.default_rng(0)
    for seconds in arguments.seconds:
        samples = round(seconds * card["sample_rate"])
        waveform = tf.constant(random.normal(size=(1, samples)).astype(np.float32))
        function(waveform=waveform)
        times = []
        for _ in range(REPEATS):
            # Time of this process: others on the machine do not count.
            started = time.process_time()
            function(waveform=waveform)["probability"].numpy()
            times.append(time.process_time() - started)
        spent = statistics.median(times)
        print(f"{seconds:g} s of sound: {spent:.4f} s, real-time factor {spent / seconds:.5f}")


if __name__ == "__main__":
    main()
