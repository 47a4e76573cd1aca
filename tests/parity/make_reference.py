"""Numbers of the real tensorflow-addons 0.23, which our versions are compared with.

    make parity        computes them anew and fails if reference.json differs
    .venv-parity/bin/python tests/parity/make_reference.py --write        rewrites reference.json

It runs in an environment of its own (requirements.txt beside it: TensorFlow 2.15, Python 3.11),
because tensorflow-addons cannot be imported beside Keras 3. tests/layers/test_addons.py reads
the file: each case has the name and the arguments of a class, what went in, and what came out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

FILE = Path(__file__).with_name("reference.json")
RELATIVE, ABSOLUTE = 1e-5, 1e-6
legacy = tf.keras.optimizers.legacy


def draw(seed: int, *shape: int) -> Any:
    """Normal numbers with few digits, so that they are the same in the file and here."""
    return np.random.default_rng(seed).normal(size=shape).round(3).tolist()


def losses() -> list[dict[str, Any]]:
    positive = np.array(draw(1, 4, 3)) > 0
    labels = positive.astype(float).tolist()
    chance = np.random.default_rng(2).uniform(0.02, 0.98, size=(4, 3)).round(3).tolist()
    cases = [
        ("PinballLoss", {"tau": 0.1}, draw(3, 4, 3), draw(4, 4, 3)),
        ("PinballLoss", {}, draw(3, 4, 3), draw(4, 4, 3)),
        ("PinballLoss", {"tau": [0.1, 0.5, 0.9]}, draw(3, 4, 3), draw(4, 4, 3)),
        ("SigmoidFocalCrossEntropy", {}, labels, chance),
        ("SigmoidFocalCrossEntropy", {"alpha": 0.6, "gamma": 0.0}, labels, chance),
        ("SigmoidFocalCrossEntropy", {"from_logits": True, "gamma": 3.0}, labels, draw(5, 4, 3)),
        ("SigmoidFocalCrossEntropy", {"from_logits": True, "alpha": 0.0}, labels, draw(5, 4, 3)),
    ]
    found = []
    for name, settings, y_true, y_pred in cases:
        given = {k: tf.constant(v) if isinstance(v, list) else v for k, v in settings.items()}
        loss = getattr(tfa.losses, name)(reduction="none", **given)
        expected = loss(tf.constant(y_true), tf.constant(y_pred)).numpy().tolist()
        found.append(
            {
                "class": name,
                "settings": settings,
                "y_true": y_true,
                "y_pred": y_pred,
                "expected": expected,
            }
        )
    return found


def metrics() -> list[dict[str, Any]]:
    random = np.random.default_rng(6)

    def classes(count: int) -> list[np.ndarray]:
        return [random.integers(count, size=8) for _ in range(3)]

    def scores(true: list[np.ndarray], count: int) -> list[np.ndarray]:
        """Right about half of the time."""
        return [(0.9 * np.eye(count)[t] + random.uniform(size=(8, count))).round(3) for t in true]

    weights = [None, random.uniform(0.2, 3, size=8).round(2), random.integers(0, 3, size=8)]
    two, four, five = classes(2), classes(4), classes(5)
    one_hot = [np.eye(4)[t] for t in four]
    chance = [random.uniform(size=8).round(3) for _ in range(3)]
    near = [(t[:, None] + random.normal(size=(8, 1))).clip(0, 4).round(2) for t in five]
    kappa = "CohenKappa"
    cases: list[tuple[str, dict[str, Any], list[Any], list[Any]]] = [
        ("MatthewsCorrelationCoefficient", {"num_classes": 4}, one_hot, scores(four, 4)),
        ("MatthewsCorrelationCoefficient", {"num_classes": 2}, [np.eye(2)[t] for t in two],
         scores(two, 2)),
        (kappa, {"num_classes": 4}, one_hot, scores(four, 4)),
        (kappa, {"num_classes": 4, "sparse_labels": True, "weightage": "linear"}, four,
         scores(four, 4)),
        (kappa, {"num_classes": 4, "sparse_labels": True, "weightage": "quadratic"}, four,
         [random.permutation(t) for t in four]),
        (kappa, {"num_classes": 2, "sparse_labels": True}, two, chance),
        (kappa, {"num_classes": 5, "sparse_labels": True, "regression": True,
                 "weightage": "quadratic"}, five, near),
    ]  # fmt: skip
    found = []
    for name, settings, true, pred in cases:
        metric = getattr(tfa.metrics, name)(**settings)
        updates = []
        for y_true, y_pred, weight in zip(true, pred, weights, strict=True):
            metric.update_state(y_true, y_pred, sample_weight=weight)
            given = {"y_true": y_true, "y_pred": y_pred, "sample_weight": weight}
            lists = {k: None if v is None else v.tolist() for k, v in given.items()}
            updates.append({**lists, "expected": float(metric.result())})
        found.append({"class": name, "settings": settings, "updates": updates})
    return found


def optimizers() -> dict[str, Any]:
    """In float64: tensorflow-addons loses most digits of the rectification in float32."""
    rectified = {"learning_rate": 0.1}
    warm = {"total_steps": 8, "warmup_proportion": 0.4, "min_lr": 0.01}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("RectifiedAdam", rectified),
        ("RectifiedAdam", {**rectified, "weight_decay": 0.2}),
        ("RectifiedAdam", {**rectified, **warm}),
        ("RectifiedAdam", {**rectified, **warm, "weight_decay": 0.2}),
        ("RectifiedAdam", {**rectified, "beta_1": 0.8, "beta_2": 0.75, "sma_threshold": 4.5}),
        ("RectifiedAdam", {**rectified, "amsgrad": True, "epsilon": 0.01}),
        ("Lookahead", {"optimizer": ["SGD", {"learning_rate": 0.1, "momentum": 0.9}],
                       "sync_period": 3, "slow_step_size": 0.3}),
        ("Lookahead", {"optimizer": ["RectifiedAdam", {**rectified, "weight_decay": 0.2}]}),
        ("Lookahead", {"optimizer": ["Adam", {"learning_rate": 0.1}], "sync_period": 1}),
    ]  # fmt: skip
    start = [draw(7, 3, 2), draw(8, 2)]
    gradients = [[draw(10 + step, 3, 2), draw(40 + step, 2)] for step in range(14)]
    found = []
    for name, settings in cases:
        given = dict(settings)
        if "optimizer" in given:
            inner, inner_settings = given["optimizer"]
            given["optimizer"] = getattr(legacy, inner, None) or getattr(tfa.optimizers, inner)
            given["optimizer"] = given["optimizer"](**inner_settings)
        optimizer = getattr(tfa.optimizers, name)(**given)
        variables = [tf.Variable(value, dtype="float64") for value in start]
        steps = []
        for gradient in gradients:
            tensors = [tf.constant(g, "float64") for g in gradient]
            optimizer.apply_gradients(zip(tensors, variables, strict=True))
            steps.append([v.numpy().tolist() for v in variables])
        found.append({"class": name, "settings": settings, "expected": steps})
    return {"start": start, "gradients": gradients, "cases": found}


def weight_normalization() -> list[dict[str, Any]]:
    cases: list[tuple[str, dict[str, Any], bool, Any]] = [
        ("Dense", {"units": 3, "activation": "tanh"}, False, draw(50, 6, 4)),
        ("Dense", {"units": 3, "activation": "tanh"}, True, draw(50, 6, 4)),
        ("Dense", {"units": 3, "use_bias": False}, True, draw(50, 6, 4)),
        ("Conv2D", {"filters": 2, "kernel_size": 3, "strides": 2}, True, draw(51, 2, 5, 5, 2)),
        ("Conv1D", {"filters": 2, "kernel_size": 2}, False, draw(52, 2, 5, 3)),
        ("LSTM", {"units": 2}, False, draw(53, 3, 4, 2)),
    ]
    found = []
    for name, settings, data_init, x in cases:
        inputs = tf.constant(x)
        layer = getattr(tf.keras.layers, name)(**settings)
        layer.build(inputs.shape)
        weights = [draw(60 + i, *w.shape) for i, w in enumerate(layer.get_weights())]
        layer.set_weights([np.array(w) for w in weights])
        wrapped = tfa.layers.WeightNormalization(layer, data_init=data_init)
        optimizer = legacy.SGD(0.1)
        outputs = []
        for _ in range(4):
            with tf.GradientTape() as tape:
                y = wrapped(inputs)
                loss = tf.reduce_mean(tf.square(y - 0.5))
            variables = [wrapped.g, wrapped.v, *[v for v in layer.trainable_variables
                                                 if v is not wrapped.v]]  # fmt: skip
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            outputs.append(y.numpy().tolist())
        found.append(
            {
                "layer": [name, settings],
                "data_init": data_init,
                "x": x,
                "weights": weights,
                "outputs": outputs,
            }
        )
    return found


def differences(one: Any, two: Any, path: str = "") -> list[str]:
    """Where two trees of numbers differ by more than the tolerance."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return [d for key in one for d in differences(one[key], two[key], f"{path}/{key}")]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}/{i}")]
    numbers = isinstance(one, (int, float)) and isinstance(two, (int, float))
    if numbers and np.isclose(one, two, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
        return []
    return [] if one == two else [f"{path}: {one} here, {two} in the file"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="rewrite reference.json")
    write = parser.parse_args().write
    reference = {
        "versions": {"tensorflow": tf.__version__, "tensorflow-addons": tfa.__version__},
        "losses": losses(),
        "metrics": metrics(),
        "optimizers": optimizers(),
        "weight_normalization": weight_normalization(),
    }

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.9g}")
        if isinstance(value, dict):
            return {key: short(part) for key, part in value.items()}
        return [short(part) for part in value] if isinstance(value, list) else value

    reference = short(reference)
    if write:
        FILE.write_text(json.dumps(reference, separators=(",", ":")) + "\n")
        print(f"wrote {FILE} ({FILE.stat().st_size / 1000:.0f} kB)")
        return
    found = differences(reference, json.loads(FILE.read_text()))
    if found:
        print(*found[:20], sep="\n")
        sys.exit(f"{len(found)} numbers differ from {FILE.name}; --write rewrites it")
    print(f"{FILE.name} agrees with tensorflow-addons {tfa.__version__}")


if __name__ == "__main__":
    main()
