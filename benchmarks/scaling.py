"""How the cost of the dropless layer grows with the number of tokens and of experts.

A training step of the layer and of the dense layer of equal active size, as in moe_layer.py, with
16 experts over the tokens and with 4096 tokens over the experts.

    python benchmarks/scaling.py [--rounds 5]
    KERAS_BACKEND=jax python benchmarks/scaling.py

The rows are written to benchmarks/results/scaling-<backend>.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
from circumstances import circumstances, write
from moe_layer import HIDDEN, WIDTH, K, measure, moe
from steps import BACKEND, MODES, compiled_step

from moe_apps.layers import SwiGLU

TOKENS, EXPERTS = (256, 1024, 4096, 16384, 32768), (4, 16, 64, 256)
SIZES = [(tokens, 16) for tokens in TOKENS] + [(4096, experts) for experts in EXPERTS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    where, rows = circumstances(), []
    for tokens, experts in dict.fromkeys(SIZES):
        x = keras.random.normal((8, tokens // 8, WIDTH), seed=1)
        for mode in MODES:
            keras.utils.set_random_seed(0)
            dense = compiled_step(SwiGLU(K * HIDDEN), x, mode, "training")
            steps = {"dropless": compiled_step(moe(experts, "dropless"), x, mode, "training")}
            facts = {"tokens": tokens, "experts": experts, "mode": mode}
            for row in measure(dense, steps, options.rounds, facts):
                rows.append({**row, **where})
                print(*row.values(), sep="\t", flush=True)
    output = Path(__file__).parent / "results" / f"scaling-{BACKEND}.csv"
    write(rows, output)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
