"""Which expert took what: weights by layer, kind of weather and level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from moe_apps.pipelines.deraining.config import DerainingConfig
from moe_apps.pipelines.deraining.examples import Example
from moe_apps.pipelines.deraining.restoration import ImageRestorer
from moe_apps.pipelines.specialisation import routing_values

FloatArray = npt.NDArray[np.floating]
LOOKED_AT, SIDE = 4, 128  # examples, and pixels of their corners, that gates are looked at on


def routing_summary(restorer: ImageRestorer, examples: Sequence[Example]) -> dict[str, Any]:
    """Routing over examples.

    Returns:
        empty without experts; else `load` `[layers][experts]`, the mean weight (in sum 1),
        `load_entropy` `[layers]`, its entropy over its maximum, `active_experts`, the mean number
        with a weight, by place and layer; under `by_kind`, `by_level` and so on a dict of group
        to mean weights `[layers][experts]`; `specialisation` by factor and layer, the share of
        the variance of the weights between images that the factor explains, 0 to 1 (chance alone
        gives about groups / images); and, where the router knows it, `uncertainty` by group.
    """
    weights, uncertainty, active = [], [], []
    for example in examples:
        found = restorer.explain(example.rainy)
        if "routing" not in found:
            return {}
        routing = found["routing"]
        places = routing.reshape(-1, *routing.shape[-2:])
        weights.append(places.mean(axis=0))
        active.append((places > 0).sum(axis=-1).mean())
        if "uncertainty" in found:
            uncertainty.append(float(found["uncertainty"].mean()))
    stacked = np.stack(weights).astype(np.float64)  # (images, layers, experts)
    load = stacked.mean(axis=0)
    summary: dict[str, Any] = {
        "load": load.tolist(),
        "load_entropy": (entr(load).sum(axis=-1) / np.log(max(load.shape[-1], 2))).tolist(),
        "active_experts": float(np.mean(active)),
        "images": len(stacked),
        "specialisation": {},
    }
    if uncertainty:
        summary["uncertainty"] = float(np.mean(uncertainty))
    for factor in sorted({name for example in examples for name in example.labels}):
        names = np.array([example.labels.get(factor, "") for example in examples])
        if len(set(names)) < 2:
            continue
        groups = {name: stacked[names == name].mean(axis=0) for name in dict.fromkeys(names)}
        summary[f"by_{factor}"] = {str(name): value.tolist() for name, value in groups.items()}
        summary["specialisation"][factor] = explained(stacked, names).tolist()
        if uncertainty:
            values = np.array(uncertainty)
            summary[f"uncertainty_by_{factor}"] = {
                str(name): float(values[names == name].mean()) for name in groups
            }
    return summary


def explained(weights: FloatArray, names: npt.NDArray[Any]) -> FloatArray:
    """Share of the variance of weights that groups explain, by layer.

    Args:
        weights: `[images, layers, experts]`.
        names: `[images]`, the group of each.

    Example:
        >>> weights = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
        >>> explained(weights, np.array(["a", "a", "b", "b"])).tolist()
        [1.0]
    """
    centred = weights - weights.mean(axis=0)
    total = np.square(centred).sum(axis=(0, 2))
    between = np.zeros_like(total)
    for name in np.unique(names):
        group = centred[names == name]
        between += len(group) * np.square(group.mean(axis=0)).sum(axis=-1)
    return between / np.where(total > 0, total, 1.0)


def layer_names(routing: Mapping[str, Any], config: Any) -> list[str]:
    """Names of the layers of `load`, for people."""
    count = len(routing["load"])
    if config.model.name == "mofme":
        return [f"layer {number}" for number in range(count)]
    return [f"{'front' if n < count // 2 else 'rear'} {n % (count // 2)}" for n in range(count)]


def expert_names(routing: Mapping[str, Any], config: Any) -> list[str]:
    """Names of the experts, for people."""
    if config.model.name == "mofme":
        return [str(number) for number in range(len(routing["load"][0]))]
    from moe_apps.layers.experts.operations import OPERATIONS

    return [name.replace("_", " ") for name in OPERATIONS]


def gate_values(
    restorer: ImageRestorer, examples: Sequence[Example], config: DerainingConfig
) -> dict[str, float]:
    """Load and entropy of the gates of each layer, over corners of a few examples.

    Empty for models whose layers follow this themselves in training, and without gates.
    """
    if config.model.name != "drsformer":
        return {}
    found = [
        restorer.explain(example.rainy[:SIDE, :SIDE]) for example in islice(examples, LOOKED_AT)
    ]
    routing = [one["routing"] for one in found if "routing" in one]
    if not routing:
        return {}
    places = np.concatenate([one.reshape(-1, *one.shape[-2:]) for one in routing])
    names = layer_names({"load": places[0]}, config)  # places: (n, layers, experts)
    return routing_values({name.replace(" ", "_"): places[:, n] for n, name in enumerate(names)})
