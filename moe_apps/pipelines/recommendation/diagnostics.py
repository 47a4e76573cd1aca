"""What experts do: gate weights, scale of outputs, and HoME's three signs of failing experts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.special import entr

from moe_apps.layers.callbacks.probe import all_layers
from moe_apps.layers.multi_gate.expert_set import ExpertSet
from moe_apps.layers.multi_gate.multi_gate import MultiGate
from moe_apps.models.recommendation import Ranker

FloatArray = npt.NDArray[np.floating]

SCALE = 10.0
"""An expert's outputs are off the scale beyond this factor of the pool's median deviation."""

ZEROS = 0.9
"""Share of outputs that are 0 from which an expert counts as collapsed (HoME's abstract: 90%)."""

ONE_TASK = 0.9
"""Share of a shared expert's weight from one task from which it serves that task only."""

NEGLECTED = 0.2
"""Share of the equal weight below which a task leaves its own experts unused."""


def routing_summary(
    weights: Mapping[str, FloatArray], domain: npt.NDArray[Any] | None = None
) -> dict[str, Any]:
    """How the gates share their weight out.

    Args:
        weights: Of each gate, `[rows, experts]`.
        domain: Domain of each row, `[rows]`, if there is one.

    Returns:
        By gate: `weight` (mean), `largest` (share of rows in which the expert has the largest
        weight), `entropy` (mean of the rows' over its maximum), `active` (mean number of experts
        with a weight other than 0); with `domain` also `by_domain` (mean weights) and
        `specialisation` (mutual information of domain and expert over the experts' entropy).

    Example:
        >>> summary = routing_summary({"click": np.array([[1.0, 0.0], [0.5, 0.5]])})
        >>> summary["click"]["weight"], summary["click"]["active"]
        ([0.75, 0.25], 1.5)
    """
    made = {}
    for gate, w in weights.items():
        # Gates of AW-MoE may be negative: what counts is how large a weight is.
        size = np.abs(w.astype(np.float64))
        share = size / np.maximum(size.sum(axis=1, keepdims=True), 1e-12)
        experts = w.shape[1]
        made[gate] = {
            "weight": share.mean(axis=0).tolist(),
            "largest": np.bincount(share.argmax(axis=1), minlength=experts) / len(w),
            "entropy": float(entr(share).sum(axis=-1).mean() / np.log(max(experts, 2))),
            "active": float((w != 0).sum(axis=1).mean()),
        }
        if domain is not None:
            names = sorted({str(name) for name in domain})
            by = np.stack([share[domain == name].mean(axis=0) for name in names])
            rows = np.array([(domain == name).mean() for name in names])
            made[gate]["by_domain"] = dict(zip(names, by.tolist(), strict=True))
            total = entr((rows[:, None] * by).sum(axis=0)).sum(axis=-1)
            within = (rows * entr(by).sum(axis=-1)).sum()
            made[gate]["specialisation"] = float((total - within) / total) if total > 0 else 0.0
    return made


def failure_signs(model: Ranker, inputs: Any) -> dict[str, Any]:
    """HoME's three signs of failing experts, looked for on some rows.

    - collapse: an expert's outputs are on another scale than those of the pool (`SCALE`), or
      nearly all 0 (`ZEROS`);
    - degradation: a shared expert serves one task only (`ONE_TASK`);
    - underfitting: a task leaves its own experts unused (`NEGLECTED`).

    Source: Wang et al. 2024, "HoME", arXiv 2408.05430, which names the signs; the thresholds are
    ours.

    Args:
        model: A built model.
        inputs: Its inputs for some rows; they are run at once, eagerly.

    Returns:
        `experts`: a row each with pool, expert, mean, deviation, zeros and its weight in each
        gate's mean; `signs`: a row each for what was found; empty where nothing was.
    """
    with _recorded(model) as records:
        model(keras.tree.map_structure(keras.ops.convert_to_tensor, inputs), training=False)
    experts, signs = [], []
    for pool, record in records.items():
        rows = _expert_rows(pool, record)
        experts += rows
        signs += _collapse(pool, rows)
        if "gates" in record:
            signs += _degradation(pool, record)
            signs += _underfitting(pool, record)
    return {"experts": experts, "signs": signs}


@contextmanager
def _recorded(model: Ranker) -> Iterator[dict[str, dict[str, Any]]]:
    """Notes, by pool, outputs of each set of experts and weights of each gate."""
    records: dict[str, dict[str, Any]] = {}
    layers = all_layers(model)
    pools = [layer for layer in layers if isinstance(layer, MultiGate)]
    inside = {id(one): (pool, name) for pool in pools for name, one in pool.sets.items()}
    changed: list[Any] = []

    def note(layer: Any, keep: Callable[[Any], None]) -> None:
        call = layer.call

        def noted(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            keep(result)
            return result

        layer.call = noted
        changed.append(layer)

    def keep_gates(record: dict[str, Any]) -> Callable[[Any], None]:
        return lambda result: record.update(gates=_mean_weights(result[1]))

    def keep_outputs(record: dict[str, Any], name: str) -> Callable[[Any], None]:
        def keep(result: Any) -> None:
            record["sets"][name] = np.asarray(keras.ops.convert_to_numpy(result), np.float64)

        return keep

    for pool in pools:
        record = records.setdefault(_name(pool), {"sets": {}, "names": pool.expert_names})
        note(pool, keep_gates(record))
    for layer in layers:
        if isinstance(layer, ExpertSet):
            owner, name = inside.get(id(layer), (layer, layer.name))
            record = records.setdefault(_name(owner), {"sets": {}})
            note(layer, keep_outputs(record, name))
    try:
        yield records
    finally:
        for layer in changed:
            del layer.call  # the method of the class shows again


def _name(layer: keras.layers.Layer) -> str:
    parts = [part for part in layer.path.split("/")[1:] if part not in ("body", "pool")]
    return "/".join(parts) or "experts"


def _mean_weights(weights: Mapping[str, Any]) -> dict[str, FloatArray]:
    return {
        name: np.asarray(keras.ops.convert_to_numpy(w)).mean(axis=0) for name, w in weights.items()
    }


def _expert_rows(pool: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows, place = [], 0
    for name, outputs in record["sets"].items():
        for number in range(outputs.shape[1]):
            of_expert = outputs[:, number]
            row = {
                "pool": pool,
                "expert": f"{name}_{number}",
                "mean": float(of_expert.mean()),
                "deviation": float(of_expert.std()),
                "zeros": float((of_expert == 0).mean()),
            }
            for gate, weights in record.get("gates", {}).items():
                row[f"weight: {gate}"] = float(weights[place])
            rows.append(row)
            place += 1
    return rows


def _collapse(pool: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    median = float(np.median([row["deviation"] for row in rows]))
    found = []
    for row in rows:
        ratio = row["deviation"] / median if median else 1.0
        if row["zeros"] > ZEROS:
            what = f"{row['zeros']:.0%} of the outputs are 0"
        elif len(rows) > 1 and not 1 / SCALE <= ratio <= SCALE:
            what = f"deviation is {ratio:.2g} times the pool's median"
        else:
            continue
        found.append({"sign": "collapse", "pool": pool, "where": row["expert"], "what": what})
    return found


def _degradation(pool: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = {name: w for name, w in record["gates"].items() if name != "shared"}
    if len(tasks) < 2:
        return []
    found = []
    for place, expert in enumerate(record["names"]):
        if not expert.startswith("shared_"):
            continue
        weights = np.array([w[place] for w in tasks.values()])
        total = weights.sum()
        if total > 0 and weights.max() / total > ONE_TASK:
            what = f"{weights.max() / total:.0%} of its weight is from {[*tasks][weights.argmax()]}"
            found.append({"sign": "degradation", "pool": pool, "where": expert, "what": what})
    return found


def _underfitting(pool: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for gate, weights in record["gates"].items():
        if gate == "shared":
            continue
        of_set = [name.rpartition("_")[0] for name in record["names"]]
        own = np.array([name in (gate, f"task_{gate}", f"group_{gate}") for name in of_set])
        seen = weights > 0
        if not own.any() or not (seen & ~own).any():
            continue
        equal = own.sum() / max((seen | own).sum(), 1)
        share = weights[own].sum() / max(weights.sum(), 1e-12)
        if share < NEGLECTED * equal:
            what = f"its own experts get {share:.1%} of the weight, {equal:.0%} would be equal"
            found.append({"sign": "underfitting", "pool": pool, "where": gate, "what": what})
    return found
