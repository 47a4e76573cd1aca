"""Makes an example of every router, expert bank and layer that can be had by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from moe_apps.layers import ConstantExperts, CopyExperts, FFNExperts, MLPExperts, MoE, SwiGLU, TopK
from moe_apps.registry import EXPERT_BANKS, LAYERS, ROUTERS

EXPERTS, FEATURES = 4, 6
"""Numbers of experts and features of all examples."""

# What an entry needs beside its defaults. An entry that is not here is made with its defaults,
# so a new one is tested with no line here, or fails until it has one.
ROUTER_SETTINGS: dict[str, dict[str, Any]] = {
    "deepseek": {"groups": 2, "kept_groups": 1},
    "mixer": {"context_dim": 2},
    "soft_moe": {"slots": 2},
}
BANK_SETTINGS: dict[str, dict[str, Any]] = {
    "constant": {"num_experts": EXPERTS},
    "copy": {"num_experts": EXPERTS},
    "mixed": {
        "banks": [
            keras.saving.serialize_keras_object(bank)
            for bank in (FFNExperts(2, 5), ConstantExperts(1), CopyExperts(1))
        ]
    },
    "zero": {"num_experts": EXPERTS},
    "modulation": {"num_experts": EXPERTS},
    "lora": {"num_experts": EXPERTS, "rank": 2},
    "mix_lora": {
        "num_experts": EXPERTS,
        "base": keras.saving.serialize_keras_object(SwiGLU(5, name="base")),
        "rank": 2,
    },
    "mlp": {"num_experts": EXPERTS, "units": (5, 3)},
    "scaled_mlp": {"num_experts": EXPERTS, "units": (5, 3)},
}
LAYER_SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "adapt_dhm": lambda: {"num_clusters": EXPERTS, "units": (5, 3)},
    "chain_of_experts": lambda: {
        "routers": [TopK(1), TopK(2)],
        "experts": FFNExperts(EXPERTS, 5),
        "norm": keras.layers.LayerNormalization(),
    },
    "cgc": lambda: {"tasks": ("a", "b"), "units": (5,)},
    "depthwise_conv_ffn": lambda: {"hidden_dim": 5},
    "fly_lora": lambda: {"base": keras.layers.Dense(5, name="base"), "rank": 4, "k": 2},
    "monet": lambda: {"num_parts": 8, "hidden_dim": 4, "heads": 2, "k": 2},
    "operation_experts": lambda: {
        "steps": 2,
        "operations": ("separable_3", "dilated_3", "average_3"),
    },
    "peer": lambda: {"num_experts": 25, "heads": 2, "k": 3, "key_dim": 4},
    "ultra_mem": lambda: {"num_keys": 6, "k": 3, "key_dim": 4, "value_dim": 4, "gate_dim": 5},
    "home": lambda: {"groups": {"g": ("a", "b"), "h": ("c",)}, "units": (5,)},
    "mmoe": lambda: {"tasks": ("a", "b"), "experts": MLPExperts(EXPERTS, (5,))},
    "mo_ra": lambda: {
        "base": keras.layers.Dense(5, name="base"),
        "num_tasks": 2,
        "rank": 3,
        "threshold": 0.3,
    },
    "moe_lora_dense": lambda: {
        "base": keras.layers.Dense(5, name="base"),
        "router": TopK(2, renormalize=True, name="router"),
        "num_experts": EXPERTS,
        "rank": 2,
    },
    "ple": lambda: {"tasks": ("a", "b"), "units": (5,)},
    "weight_normalization": lambda: {"layer": keras.layers.Dense(5)},
    "task_expert_memory": lambda: {"tasks": ("a", "b"), "experts": MLPExperts(EXPERTS, (5,))},
}

# What a router's or layer's call needs beside `x` `(batch, time, features)`.
CONTEXT: dict[str, Callable[[np.ndarray], Any]] = {
    "attention_aware": lambda x: np.full(
        (len(x), x.shape[1], x.shape[1]), 1 / x.shape[1], "float32"
    ),
    "enforced": lambda x: (np.abs(x[..., 0]) * 4).astype("int32") % EXPERTS,
    "mixer": lambda x: x[:, 0, :2],
}
CALL: dict[str, Callable[[np.ndarray], dict[str, Any]]] = {}


class Entry(NamedTuple):
    kind: str
    name: str
    cls: Any

    def __str__(self) -> str:
        return self.name


def entries(kind: str, registry: Any) -> list[Entry]:
    return [Entry(kind, name, registry.get(name)) for name in registry.names()]


ROUTER_ENTRIES = entries("router", ROUTERS)
BANK_ENTRIES = entries("bank", EXPERT_BANKS)
LAYER_ENTRIES = entries("layer", LAYERS)


def make(entry: Entry, **settings: Any) -> Any:
    """An example of the entry: four experts, other settings by default or from the tables."""
    keras.utils.set_random_seed(1)  # equal examples at every call
    name = f"{entry.kind}_example"
    if entry.kind == "router":
        given = {"num_experts": EXPERTS, **ROUTER_SETTINGS.get(entry.name, {}), **settings}
    elif entry.kind == "bank":
        needed = {"num_experts": EXPERTS, "hidden_dim": 5}
        given = {**BANK_SETTINGS.get(entry.name, needed), **settings}
    else:
        given = {**LAYER_SETTINGS.get(entry.name, dict)(), **settings}
    example = entry.cls(name=name, **given)
    if entry.kind == "router":  # as `MoE` does; some routers score by the experts' weights
        bank = FFNExperts(EXPERTS, 5)
        bank.build((None, None, FEATURES))
        example.attach(bank)
    return example


def context_of(entry: Entry, x: np.ndarray) -> Any:
    """The `context` argument of a router for the input `x`."""
    return CONTEXT[entry.name](x) if entry.name in CONTEXT else None


def call_arguments(entry: Entry, x: np.ndarray) -> dict[str, Any]:
    """The arguments of a layer's call beside `x`."""
    return CALL[entry.name](x) if entry.name in CALL else {}


def layer_of(entry: Entry, dtype: str = "float32") -> Any:
    """The entry as a layer on `(batch, time, features)`: routers and banks inside `MoE`."""
    if entry.kind == "router":
        router = make(entry)
        return MoE(
            router, FFNExperts(EXPERTS, 5, dtype=dtype, name="bank"), dtype=dtype, name="moe"
        )
    if entry.kind == "bank":
        bank = make(entry, dtype=dtype)
        top = make(next(e for e in ROUTER_ENTRIES if e.name == "top_k"), num_experts=None)
        level = "sample" if getattr(bank, "whole_samples", False) else "token"
        return MoE(top, bank, dtype=dtype, level=level, name="moe")
    return make(entry, dtype=dtype)


def arguments_of(entry: Entry, x: np.ndarray) -> dict[str, Any]:
    """The arguments of a call of `layer_of(entry)` beside `x`."""
    if entry.kind == "router":
        context = context_of(entry, x)
        return {} if context is None else {"context": context}
    return call_arguments(entry, x) if entry.kind == "layer" else {}
