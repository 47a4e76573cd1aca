"""What the MoE layer costs, as a multiple of a dense layer's cost, beside other implementations.

Forward pass and training step (forward and backward) on 4096 tokens of width 256, two experts of
hidden width 512 a token, beside a dense SwiGLU of hidden width 1024 (the same multiply-adds).
Others compute with the weights of ours, and their outputs are checked to be equal. All take turns
step by step, so that other load on the machine meets all of them; a figure is the median over the
rounds of the ratio to the dense layer's step of that round. PyTorch's blocks are compared to a
dense layer of PyTorch, and run in the TensorFlow process to take turns with ours.

    python benchmarks/moe_layer.py [--experts 8 16 64 128] [--rounds 7]
    KERAS_BACKEND=jax python benchmarks/moe_layer.py

The rows are printed and written to benchmarks/results/moe_layer-<backend>.csv.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# PyTorch's threads must not spin while those of the others compute.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import keras
import keras_hub_peers
import numpy as np
import torch_peers
from circumstances import circumstances, write
from steps import BACKEND, MODES, Pass, Step, compiled_step, timed

from moe_apps.layers import MoE, SwiGLU, SwiGLUExperts, TopK

SHAPE, HIDDEN, K = (8, 512, 256), 512, 2
WIDTH = SHAPE[-1]
SLOW = 1.5  # a step of more seconds is taken in the first round only
MASKED_UP_TO = 64  # experts for which those are measured that compute every expert


def moe(num_experts: int, dispatch: str, like: MoE | None = None) -> MoE:
    router = TopK(K, renormalize=True, balance_loss_weight=0.01)
    layer = MoE(router, SwiGLUExperts(num_experts, HIDDEN), dispatch=dispatch)
    layer.build(SHAPE)
    if like is not None:
        layer.set_weights(like.get_weights())
    return layer


class ExpertsAlone(keras.layers.Layer):
    """The experts on rows that stand in order already, equally many for each: the floor.

    Args:
        bank: the experts of ours.
        pieces: call them one by one, as in TensorFlow's graph mode, not all at once.
    """

    def __init__(self, bank: keras.layers.Layer, pieces: bool) -> None:
        super().__init__()
        self.bank, self.pieces = bank, pieces

    def call(self, x: Any) -> Any:
        rows = keras.ops.concatenate([keras.ops.reshape(x, (-1, WIDTH))] * K)
        rows = keras.ops.reshape(rows, (self.bank.num_experts, -1, WIDTH))
        return (
            keras.ops.stack(self.bank(keras.ops.unstack(rows))) if self.pieces else self.bank(rows)
        )


def check_equal(name: str, outputs: Any, expected: Any) -> None:
    difference = np.abs(np.asarray(outputs) - np.asarray(expected)).max()
    if difference > 1e-4:
        raise SystemExit(f"{name} differs from our layer by {difference}; figures mean nothing.")


def peers(ours: MoE, x: Any, num_experts: int, mode: str) -> dict[str, keras.layers.Layer]:
    """The ways to compute the mixture, by name."""
    layers: dict[str, keras.layers.Layer] = {
        "dropless": ours,
        "capacity 1.25": moe(num_experts, "capacity", ours),
        "experts alone": ExpertsAlone(ours.experts, pieces=mode == "graph"),
    }
    if num_experts > MASKED_UP_TO:
        return layers
    layers["dense"] = moe(num_experts, "dense", ours)
    if keras_hub_peers.INSTALLED:
        plain = moe(num_experts, "dropless", ours)
        plain.router.renormalize = False
        layers["KerasHub Mixtral"] = keras_hub_peers.mixtral_block(ours, WIDTH)
        layers["KerasHub Qwen3-MoE"] = keras_hub_peers.qwen3_block(plain, WIDTH)
        few = x[:1, :64]
        for name, like in (("KerasHub Mixtral", ours), ("KerasHub Qwen3-MoE", plain)):
            check_equal(name, layers[name](few)[0], like(few))
    return layers


def torch_steps(ours: MoE, x: Any, kind: Pass) -> tuple[Step, dict[str, Step]]:
    """PyTorch's dense layer, and its blocks beside ours in TensorFlow's graph mode."""
    training = kind == "training"
    dense = timed(torch_peers.step(torch_peers.dense_layer(WIDTH, K * HIDDEN), x, training))
    steps = {"dropless (TensorFlow graph)": compiled_step(ours, x, "graph", kind)}
    for implementation in ("grouped_mm", "eager"):
        block = torch_peers.mixtral_block(ours, WIDTH, implementation)
        name = f"transformers Mixtral, {implementation}"
        check_equal(name, torch_peers.run(block, x[:1, :64]), ours(x[:1, :64]))
        steps[name] = timed(torch_peers.step(block, x, training))
    return dense, steps


def measure(
    dense: Step, steps: dict[str, Step], rounds: int, facts: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row for each step, all of them taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ("dense layer", *steps)}
    ratios: dict[str, list[float]] = {name: [] for name in seconds}
    for turn in range(rounds):
        for name, step in {"dense layer": dense, **steps}.items():
            if turn == 0 or name == "dense layer" or median(seconds[name]) < SLOW:
                seconds[name].append(step())
                ratios[name].append(seconds[name][-1] / seconds["dense layer"][-1])
    return [
        {
            **facts,
            "layer": name,
            "ratio": round(median(ratios[name]), 2),
            "milliseconds": round(1000 * median(seconds[name]), 1),
            "rounds": len(seconds[name]),
        }
        for name in seconds
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 16, 64, 128])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=None, help="CSV file")
    options = parser.parse_args()
    where = circumstances()
    print(*where.values(), sep=", ")
    output = options.output or Path(__file__).parent / "results" / f"moe_layer-{BACKEND}.csv"
    x = keras.random.normal(SHAPE, seed=1)
    modes = [*MODES, *(["torch"] if BACKEND == "tensorflow" and torch_peers.INSTALLED else [])]
    rows: list[dict[str, Any]] = []
    for num_experts in options.experts:
        keras.utils.set_random_seed(0)
        ours = moe(num_experts, "dropless")
        for mode in modes:
            for kind in ("training", "forward"):
                if mode == "torch":
                    dense, steps = torch_steps(ours, x, kind)
                else:
                    dense = compiled_step(SwiGLU(K * HIDDEN), x, mode, kind)
                    steps = {
                        name: compiled_step(layer, x, mode, kind)
                        for name, layer in peers(ours, x, num_experts, mode).items()
                    }
                facts = {"experts": num_experts, "mode": mode, "pass": kind}
                for row in measure(dense, steps, options.rounds, facts):
                    rows.append({**row, **where})
                    print(
                        f"{num_experts:4} experts  {mode:5}  {kind:8}  {row['layer']:32}"
                        f"{row['ratio']:7.2f} x  {row['milliseconds']:8.1f} ms",
                        flush=True,
                    )
        write(rows, output)  # what is measured stays, should a long run be stopped
    print(f"written to {output}")


if __name__ == "__main__":
    main()
