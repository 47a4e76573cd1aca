"""What one training step of the MoE layer costs, as a multiple of a dense layer's.

Forward and backward on 4096 tokens of width 256, two experts of hidden width 512 a token, beside
a dense SwiGLU of hidden width 1024 (the same multiply-adds) and KerasHub's Qwen3-MoE block. All
ways take turns step by step, so that other load on the machine meets all of them; a figure is
the median over the rounds of the ratio to the dense layer's step of that round.

    python benchmarks/moe_layer.py [--experts 8 16 64] [--rounds 11]
    KERAS_BACKEND=jax python benchmarks/moe_layer.py

The table is printed and written to benchmarks/results/moe_layer-<backend>.csv.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from moe_apps.layers import Dropless, MoE, SwiGLU, SwiGLUExperts, TopK

TOKENS, WIDTH, HIDDEN, K = (8, 512), 256, 512, 2
BACKEND = keras.backend.backend()
MODES = ("graph", "xla") if BACKEND == "tensorflow" else ("xla",)
SLOW = 1.0  # a step of more seconds is taken in the first round only
TARGETS = {("dropless", 8): 1.7, ("dropless", 64): 2.6}

Step = Callable[[], float]


def keras_hub_block(num_experts: int) -> keras.layers.Layer | None:
    """KerasHub's sparse block; it is not public there, the only private import of this file."""
    try:
        from keras_hub.src.models.qwen3_moe.qwen3_moe_decoder import Qwen3SparseMoeBlock
    except ImportError as error:
        print(f"KerasHub is left out: {error}. The extra `bench` installs it.")
        return None
    return Qwen3SparseMoeBlock(
        hidden_dim=WIDTH,
        moe_intermediate_dim=HIDDEN,
        num_experts=num_experts,
        top_k=K,
        norm_top_k_prob=False,
    )


def layers(num_experts: int, mode: str) -> Iterator[tuple[str, keras.layers.Layer]]:
    """The ways to compute the mixture, by name."""

    def moe(dispatch: Any) -> MoE:
        router = TopK(K, balance_loss_weight=0.01)
        return MoE(router, SwiGLUExperts(num_experts, HIDDEN), dispatch=dispatch)

    yield "dropless", moe("dropless")
    yield "dropless, blocks", moe(Dropless("blocks"))
    if mode == "graph":  # XLA refuses to compile it
        yield "dropless, slices", moe(Dropless("slices"))
    yield "capacity 1.25", moe("capacity")
    yield "dense", moe("dense")
    block = keras_hub_block(num_experts)
    if block is not None:
        yield "KerasHub Qwen3-MoE", block


def training_step(layer: keras.layers.Layer, mode: str) -> Step:
    """A compiled forward and backward pass; a call gives its seconds."""
    x = keras.random.normal((*TOKENS, WIDTH), seed=1)
    inputs = keras.Input(batch_shape=x.shape)
    model = keras.Model(inputs, layer(inputs))
    run = (tensorflow_step if BACKEND == "tensorflow" else jax_step)(model, x, mode)
    run()

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return timed


def loss_of(outputs: Any) -> Any:
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return keras.ops.mean(keras.ops.square(outputs))


def tensorflow_step(model: keras.Model, x: Any, mode: str) -> Callable[[], None]:
    import tensorflow as tf

    @tf.function(jit_compile=mode == "xla", autograph=False)
    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.add_n([loss_of(model(x, training=True)), *model.losses])
        weights = [variable.value for variable in model.trainable_variables]
        return loss, tape.gradient(loss, [x, *weights])

    return lambda: float(step()[0])


def jax_step(model: keras.Model, x: Any, mode: str) -> Callable[[], None]:
    import jax

    fixed = [variable.value for variable in model.non_trainable_variables]

    def loss(weights: Any, x: Any) -> Any:
        outputs, _, losses = model.stateless_call(
            weights, fixed, x, training=True, return_losses=True
        )
        return loss_of(outputs) + sum(losses)

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    weights = [variable.value for variable in model.trainable_variables]
    return lambda: jax.block_until_ready(step(weights, x))


def measure(num_experts: int, mode: str, rounds: int) -> list[dict[str, Any]]:
    """Rows of the table for one number of experts."""
    dense = training_step(SwiGLU(K * HIDDEN), mode)
    steps = {name: training_step(layer, mode) for name, layer in layers(num_experts, mode)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds):
        reference = dense()
        for name, step in steps.items():
            if turn == 0 or median(seconds[name]) < SLOW:
                seconds[name].append(step())
                ratios[name].append(seconds[name][-1] / reference)
    return [
        {
            "experts": num_experts,
            "mode": mode,
            "layer": name,
            "ratio": round(median(ratios[name]), 2),
            "milliseconds": round(1000 * median(seconds[name]), 1),
            "rounds": len(seconds[name]),
            "target": TARGETS.get((name, num_experts), ""),
        }
        for name in steps
    ]


def circumstances() -> dict[str, str]:
    """Hardware, versions and date, the same on every row."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    packages = ("keras", BACKEND, "keras-hub")
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "versions": " ".join(f"{name} {installed(name)}" for name in packages),
        "date": datetime.date.today().isoformat(),
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "absent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--output", type=Path, default=None, help="CSV file")
    options = parser.parse_args()
    facts = circumstances()
    print(*facts.values(), sep=", ")
    output = options.output or Path(__file__).parent / "results" / f"moe_layer-{BACKEND}.csv"
    rows = []
    for num_experts in options.experts:
        for mode in MODES:
            for row in measure(num_experts, mode, options.rounds):
                target = f"  (at most {row['target']})" if row["target"] else ""
                print(
                    f"{num_experts:4} experts  {mode:5}  {row['layer']:20} {row['ratio']:6.2f} x"
                    f"  {row['milliseconds']:8.1f} ms{target}",
                    flush=True,
                )
                rows.append({**row, **facts})
            write(rows, output)  # what is measured stays, should a long run be stopped
    print(f"written to {output}")


def write(rows: list[dict[str, Any]], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
