"""Experts spread over devices with `keras.distribution`, on JAX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from moe_apps.layers.callbacks.probe import all_layers
from moe_apps.layers.experts.expert_bank import ExpertBank

BATCH, EXPERT = "batch", "expert"
"""Names of the axes of the mesh that `expert_parallel` makes."""


def expert_parallel_layout(
    mesh: keras.distribution.DeviceMesh, model: keras.layers.Layer, axis: str = EXPERT
) -> keras.distribution.LayoutMap:
    """A layout in which every device along an axis holds its share of the experts.

    The leading axis of all stacked weights of expert banks is cut; everything else is replicated.
    Optimizers lay out what they keep about a weight as the weight itself.

    Args:
        mesh: the devices. The size of `axis` must divide the number of experts.
        model: a built model (or layer) of the architecture that is to be made under the layout.
            Its variables' paths are read, where numbers that Keras appends to names may differ.
        axis: name of the mesh's axis over which experts are spread.

    Returns:
        a `LayoutMap`, for `keras.distribution.ModelParallel`.

    Raises:
        RuntimeError: on TensorFlow, where `keras.distribution` shards nothing and says nothing.
        ValueError: when the mesh has no such axis, the model no experts, or their number cannot
            be divided.
    """
    _refuse_without_jax()
    if axis not in mesh.axis_names:
        raise ValueError(f"`axis` must be one of {mesh.axis_names}. Received: axis={axis!r}")
    shards = mesh.shape[mesh.axis_names.index(axis)]
    banks = [layer for layer in (model, *all_layers(model)) if isinstance(layer, ExpertBank)]
    weights = [weight for bank in banks for weight in bank.stacked_weights]
    if not weights:
        raise ValueError(f"`model` must be built and have expert banks. Received: {model}")
    for bank in banks:
        if bank.num_experts % shards:
            raise ValueError(
                f"{bank.num_experts} experts of {bank.name!r} cannot be divided among {shards} "
                f"devices of axis {axis!r}."
            )
    layout = keras.distribution.LayoutMap(mesh)
    for pattern, rank in sorted({(_pattern(w.path), len(w.shape)) for w in weights}):
        layout[pattern] = (axis, *[None] * (rank - 1))
    return layout


def expert_parallel(
    build: Callable[[], keras.layers.Layer],
    expert_shards: int,
    devices: Sequence[Any] | None = None,
) -> keras.distribution.ModelParallel:
    """A distribution with experts over some devices and the batch over the rest.

    Device i of the list holds the experts of shard `i % expert_shards`, so shards lie next to
    each other: on one host, if it has as many devices.

    Args:
        build: makes the model, without compiling it. It is called for the names of the weights,
            and no weight takes memory then.
        expert_shards: number of devices that share one set of experts.
        devices: all devices; None takes those that JAX knows, of all processes.

    Returns:
        a `ModelParallel`, to be set by `keras.distribution.set_distribution` before the model
        is made.

    Raises:
        RuntimeError: on TensorFlow.
        ValueError: when devices or experts cannot be divided so.
    """
    _refuse_without_jax()
    devices = list(keras.distribution.list_devices() if devices is None else devices)
    if expert_shards < 1 or len(devices) % expert_shards:
        raise ValueError(
            f"`expert_shards` must divide the number of devices, {len(devices)}. "
            f"Received: {expert_shards}"
        )
    shape = (len(devices) // expert_shards, expert_shards)
    mesh = keras.distribution.DeviceMesh(shape, (BATCH, EXPERT), devices)
    with keras.StatelessScope(initialize_variables=False):
        layout = expert_parallel_layout(mesh, build())
    return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name=BATCH)


def _refuse_without_jax() -> None:
    backend = keras.backend.backend()
    if backend != "jax":
        raise RuntimeError(
            f"Experts are sharded on JAX only: with the {backend} backend `keras.distribution` "
            "leaves every weight whole and does not say so. Set KERAS_BACKEND=jax."
        )


def _pattern(path: str) -> str:
    """A regular expression for a variable's path, whatever numbers end the names of layers."""
    *layers, name = path.split("/")
    stems = [re.escape(re.sub(r"(_\d+)+$", "", layer)) + r"(_\d+)*" for layer in layers]
    return "/".join([*stems, re.escape(name)])
