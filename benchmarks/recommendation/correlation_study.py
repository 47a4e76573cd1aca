"""MMoE's synthetic study: error by how much two tasks have in common.

    KERAS_BACKEND=jax python benchmarks/recommendation/correlation_study.py

Ma et al. 2018 (KDD), section 3: x of 100 standard normal numbers,
`y_k = w_k x + sum_i sin(alpha_i w_k x + beta_i) + noise`, where w_1 and w_2 have cosine p. All
models have the paper's sizes and as many weights: a shared layer of 113 units, or 8 experts of 16
(one gate: OMoE, one a task: MMoE), then a tower of 8 units a task. The paper gives no alpha and
beta; here there are 4 waves with alpha_i = i / 2 and beta_i = (i - 1)^2, which these sizes can
follow. Training rows are drawn anew for every batch, so nothing is overfitted.

Every model is trained for each p, seed and learning rate, all at once: `vmap` over copies of one
Keras model. For each model and p the learning rate with the least mean validation error is taken,
and its test error reported. Needs the extra `jax`.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moe_apps.layers import MLPExperts, MMoE

FEATURES, NOISE = 100, 0.01
TASKS = ("first", "second")
RATES = (1e-3, 1e-2)  # of the paper's three; 1e-4 has hardly begun to learn after these steps
CORRELATIONS = (1.0, 0.9, 0.5)
RESULTS = Path(__file__).parents[1] / "results" / "recommendation_correlation_study.csv"
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "mmoe_correlation_study.png"


class OneGate(keras.layers.Layer):
    """OMoE: experts with one gate, so that all tasks read one mixture."""

    def __init__(self, experts: MLPExperts) -> None:
        super().__init__()
        self.moe = MMoE(["all"], experts)

    def build(self, shape: Any) -> None:
        self.moe.build(shape)
        self.built = True

    def call(self, x: Any) -> dict[str, Any]:
        return dict.fromkeys(TASKS, self.moe(x)["all"])


class SharedLayer(keras.layers.Layer):
    """Shared bottom: one layer for all tasks."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(units, activation="relu")

    def build(self, shape: Any) -> None:
        self.layer.build(shape)
        self.built = True

    def call(self, x: Any) -> dict[str, Any]:
        return dict.fromkeys(TASKS, self.layer(x))


BODIES = {
    "shared bottom": lambda: SharedLayer(113),
    "OMoE": lambda: OneGate(MLPExperts(8, units=(16,))),
    "MMoE": lambda: MMoE(TASKS, MLPExperts(8, units=(16,))),
}


def build(name: str) -> keras.Model:
    inputs = keras.Input((FEATURES,))
    hidden = BODIES[name]()(inputs)
    towers = []
    for task in TASKS:
        tower = keras.layers.Dense(8, activation="relu")(hidden[task])
        towers.append(keras.layers.Dense(1)(tower))
    return keras.Model(inputs, keras.layers.Concatenate()(towers))


def draw(key: Any, rows: int, directions: Any, args: argparse.Namespace) -> tuple[Any, Any]:
    """x `[rows, 100]` and y `[rows, 2]`; `directions` is `[100, 2]`."""
    of_x, of_noise = jax.random.split(key)
    x = jax.random.normal(of_x, (rows, FEATURES))
    z = x @ directions
    i = jnp.arange(1, args.sines + 1)
    waves = jnp.sin(args.alpha * i * z[..., None] + jnp.square(i - 1.0)).sum(axis=-1)
    return x, z + waves + NOISE * jax.random.normal(of_noise, z.shape)


def directions(seed: int, correlation: float, scale: float) -> np.ndarray:
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(FEATURES, 2)))
    second = correlation * basis[:, 0] + np.sqrt(1 - correlation**2) * basis[:, 1]
    return scale * np.stack([basis[:, 0], second], axis=1).astype("float32")


def study(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train all copies of one model; a row each with its errors."""
    runs = [(p, s, r) for p in args.correlations for s in range(args.seeds) for r in args.rates]
    first: dict[int, list[np.ndarray]] = {}
    for seed in range(args.seeds):  # the same first weights for every p and learning rate
        keras.utils.set_random_seed(seed)
        model = build(name)
        first[seed] = [np.asarray(v) for v in model.trainable_variables]
    weights = [first[seed] for _, seed, _ in runs]
    stacked = [jnp.stack(values) for values in zip(*weights, strict=True)]
    of_data = jnp.stack([directions(s, p, args.scale) for p, s, _ in runs])
    rates = jnp.array([r for *_, r in runs])
    keys = jnp.stack([jax.random.key(s) for _, s, _ in runs])

    def loss(values: Any, x: Any, y: Any) -> Any:
        answer, _ = model.stateless_call(values, [], x, training=True)
        return jnp.mean(jnp.square(answer - y))

    def step(state: Any, number: Any, key: Any, along: Any, rate: Any) -> Any:
        values, first, second = state
        x, y = draw(jax.random.fold_in(key, number), args.batch, along, args)
        gradients = jax.grad(loss)(values, x, y)
        t = number + 1.0
        # Adam, as Keras has it.
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
        size = rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        values = [
            w - size * m / (jnp.sqrt(v) + 1e-7)
            for w, m, v in zip(values, first, second, strict=True)
        ]
        return values, first, second

    @partial(jax.jit, donate_argnums=0)
    def train(state: Any, start: Any) -> Any:
        def one(state: Any, number: Any) -> Any:
            return jax.vmap(step, in_axes=(0, None, 0, 0, 0))(
                state, number, keys, of_data, rates
            ), None

        return jax.lax.scan(one, state, start + jnp.arange(args.every))[0]

    @jax.jit
    def errors(values: Any, number: int) -> Any:
        def one(values: Any, key: Any, along: Any) -> Any:
            x, y = draw(jax.random.fold_in(key, number), 4096, along, args)
            return jnp.mean(jnp.square(model.stateless_call(values, [], x)[0] - y))

        return jax.vmap(one)(values, keys, of_data)

    zeros = [jnp.zeros_like(value) for value in stacked]
    state = (stacked, zeros, [jnp.zeros_like(value) for value in stacked])
    # Numbers beyond all steps: rows that no training batch has.
    validation, test = 2**30, 2**30 + 1
    best = np.full(len(runs), np.inf)
    at_best = np.full(len(runs), np.nan)
    began = time.perf_counter()
    for start in range(0, args.steps, args.every):
        state = train(state, start)
        now = np.asarray(errors(state[0], validation))
        better = now < best
        at_best[better] = np.asarray(errors(state[0], test))[better]
        best = np.minimum(best, now)
        seconds = time.perf_counter() - began
        print(f"{name}: {start + args.every} steps, {seconds:.0f} s, {now.mean():.3f}", flush=True)
    return [
        {
            "model": name,
            "correlation": p,
            "seed": s,
            "learning_rate": r,
            "weights": model.count_params(),
            "steps": args.steps,
            "batch": args.batch,
            "sines": args.sines,
            "scale": args.scale,
            "validation_mse": best[i],
            "test_mse": at_best[i],
        }
        for i, (p, s, r) in enumerate(runs)
    ]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and deviation over seeds at the best learning rate of each model and correlation."""
    means = rows.groupby(["model", "correlation", "learning_rate"])["validation_mse"].mean()
    best = means.groupby(level=[0, 1]).idxmin()
    kept = rows.set_index(["model", "correlation", "learning_rate"]).loc[list(best)]
    return kept.groupby(level=[0, 1, 2])["test_mse"].agg(["mean", "std", "count"])


def picture(rows: pd.DataFrame, file: Path) -> None:
    """Test error by correlation, a line a model with its spread over seeds."""
    table = summary(rows).reset_index()
    canvas = Figure(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    colors = {"shared bottom": "#8d99ae", "OMoE": "#e9a03b", "MMoE": "#d1495b"}
    for name, color in colors.items():
        part = table[table["model"] == name].sort_values("correlation")
        axes.errorbar(
            part["correlation"], part["mean"], part["std"], color=color, marker="o", label=name
        )
    axes.invert_xaxis()
    axes.set(
        xlabel="correlation of the two tasks",
        ylabel="test MSE, mean of both tasks",
        ylim=(0, None),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--every", type=int, default=500, help="steps between validations")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sines", type=int, default=4)
    parser.add_argument("--alpha", type=float, default=0.5, help="alpha_i is this times i")
    parser.add_argument("--scale", type=float, default=1.0, help="length of w_1 and w_2")
    parser.add_argument("--correlations", type=float, nargs="+", default=CORRELATIONS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--models", nargs="+", default=list(BODIES))
    parser.add_argument("--keep", action="store_true", help="keep other models' rows in OUTPUT")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    args = parser.parse_args()
    rows = pd.DataFrame([row for name in args.models for row in study(name, args)])
    if args.keep and args.output.is_file():
        old = pd.read_csv(args.output)
        rows = pd.concat([old[~old["model"].isin(args.models)], rows])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(args.output, index=False, float_format="%.6g")
    print(summary(rows).to_string())
    picture(rows, args.picture)


if __name__ == "__main__":
    main()
